"""PyTorch's `nn.MultiheadAttention` as a mixer, to start from an existing module.

    mixer = TorchAttention(module)        # its weights are kept

Its forward has no cache. A decoding step recomputes all keys and values from the layer's inputs so far, which are
cached instead. Results are correct in every search, but each step takes longer than the one before.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.errors import ConfigError
from antiphon.nn.cache import KeyValueCache, SlotTable
from antiphon.nn.given import mark_given
from antiphon.nn.mixers.heads import FULL
from antiphon.nn.mixers.mixer import Memory, Mixer
from antiphon.nn.noise import Dropout, Noise
from antiphon.nn.scores import Scores, plan
from antiphon.nn.state import MemoryState, State, zeros
from antiphon.registry import register

NO_CACHE_WARNING = (
    "`torch.nn.MultiheadAttention` has no cache: each step of decoding computes all keys and values again. "
    "`antiphon.from_torch` reads trained layers into a decoder that has one, and so has the attention `full`."
)
_warned: set[str] = set()


class InputCache(KeyValueCache):
    """A cache of a layer's inputs (R, 1, C + 1, D), filled slot by slot in the place of keys; there are no values."""

    def __init__(self, rows: int, capacity: int, *, d_model: int, like: Tensor) -> None:
        State.__init__(
            self,
            hypothesis={"k": zeros((rows, 1, capacity + 1, d_model), like=like)},
            common=SlotTable(rows, capacity, aligned=True, device=like.device),
        )
        self._reach = 0 if like.device.type == "cpu" else capacity

    def take(self, x: Tensor, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """Add x (R, L, D) of `tokens`. Returns all inputs so far (R, K, D), and their tokens."""
        slot_table, leaf = self.common, self.hypothesis["k"]
        assert isinstance(slot_table, SlotTable)
        slots, keys, self._reach = slot_table.place(tokens)
        new = x[:, None].to(leaf.dtype)
        if slot_table.aligned:
            leaf.index_copy_(2, slots[0], new)
        else:
            leaf.scatter_(2, slots[:, None, :, None].expand_as(new), new)
        return self.used("k", leaf)[:, 0], keys


@register("attention", "torch_multihead")
class TorchAttention(Mixer):
    """`torch.nn.MultiheadAttention` with its own weights, in any role. Slow in decoding, with one warning.

    `module` is an existing one: a copy of it is used, `batch_first` or not, with its dropout, `bias_k` and
    `add_zero_attn`. Its `embed_dim` and `num_heads` must be those of the network, and `kdim` and `vdim` the width of
    the keys' input. Without a module, one is created with the other arguments, as in PyTorch. Without `bias_k` and
    `add_zero_attn`, a query without visible keys has a zero output, where PyTorch gives NaN.
    """

    takes = ("memory_width",)
    multihead: nn.MultiheadAttention

    def __init__(
        self,
        module: nn.MultiheadAttention | None = None,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
    ) -> None:
        super().__init__()
        object.__setattr__(self, "_made_with", ((), {}))  # else a second copy of the module would be kept
        self.settings: dict[str, Any] = {
            "bias": bias, "dropout": dropout, "add_bias_kv": add_bias_kv, "add_zero_attn": add_zero_attn,
        }  # fmt: skip
        self._is_plain, self._is_made = True, module is not None
        if module is None:
            return
        if not isinstance(module, nn.MultiheadAttention):
            raise ConfigError(
                f"`module` must be a torch.nn.MultiheadAttention, but is {type(module).__name__}. Give one, or leave "
                "it out."
            )
        self.multihead = copy.deepcopy(module)
        self._is_plain = type(module) is nn.MultiheadAttention
        if self._is_plain:
            self.multihead.batch_first = True  # the layout of rows does not change what it computes
        self.settings = {
            "bias": module.in_proj_bias is not None,
            "dropout": module.dropout,
            "add_bias_kv": module.bias_k is not None,
            "add_zero_attn": module.add_zero_attn,
        }

    def of_any_size(self) -> Mixer:
        return TorchAttention(**self.settings) if self._is_plain else self

    def _derived(self) -> object:
        if not self._is_plain:
            return None
        usual = {"bias": True, "dropout": 0.0, "add_bias_kv": False, "add_zero_attn": False}
        changed = {name: value for name, value in self.settings.items() if value != usual[name]}
        return {"torch_multihead": changed} if changed else "torch_multihead"

    def setup(
        self, *, d_model: int, num_heads: int, head_dim: int, role: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        self.role, self.num_heads, self.d_model = role, num_heads, d_model
        width = (self.memory_width or d_model) if role == "cross" else d_model
        if not self._is_made:
            if head_dim * num_heads != d_model:
                raise ConfigError(
                    f"`torch_multihead` must have heads of `d_model` / `num_heads` ({d_model} / {num_heads}), but "
                    f"`head_dim` is {head_dim}. Leave `head_dim` out."
                )
            self.multihead = nn.MultiheadAttention(
                d_model, num_heads, kdim=width, vdim=width, batch_first=True, **self.settings
            )
        module = self.multihead
        self._check("num_heads", module.num_heads, num_heads)
        self._check("embed_dim", module.embed_dim, d_model)
        for name in ("kdim", "vdim"):
            self._check(name, getattr(module, name), width)
        mark_given(module)
        self.drop = Dropout(float(module.dropout), noise)  # its site selects the random bits

    def _check(self, name: str, found: int, wanted: int) -> None:
        if found != wanted:
            raise ConfigError(
                f"`{name}` of the torch.nn.MultiheadAttention in the role {self.role} must be {wanted}, as the "
                f"network's, but is {found}. Change the network's settings, or give another module."
            )

    def begin(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        if capacity > 0 and not torch.compiler.is_compiling() and NO_CACHE_WARNING not in _warned:
            _warned.add(NO_CACHE_WARNING)
            warnings.warn(NO_CACHE_WARNING, stacklevel=2)
        if memory is not None:
            return MemoryState(memory.tokens, hidden=memory.hidden)
        return InputCache(rows, capacity, d_model=self.d_model, like=self.multihead.out_proj.weight)

    def forward(self, x: Tensor, tokens: Tokens, state: State | None) -> tuple[Tensor, State | None]:
        if isinstance(state, MemoryState):
            read, keys = state.source["hidden"], state.tokens
        elif isinstance(state, InputCache):
            read, keys = state.take(x, tokens)
        else:
            read, keys = x, tokens
        scores = plan(FULL, tokens, keys, causal=self.role == "decoder", num_heads=self.num_heads)
        return self._attended(x, read, scores, self.recorder(tokens, state)), state

    def _attended(self, x: Tensor, read: Tensor, scores: Scores, record: list[Tensor] | None) -> Tensor:
        module, visible, seeing = self.multihead, scores.visible, scores.seeing
        if module.bias_k is not None or module.add_zero_attn:
            seeing = None  # there is always a key
        hidden = None
        if visible is not None:
            hidden = ~visible if seeing is None else ~visible & seeing  # (B or 1, 1, Q, K)
        rows = self.drop.noise.rows if self.training and self.drop.p else None
        if rows is None or x.shape[0] != rows.count:
            found, weights = self._whole(x, read, hidden, weighs=record is not None)
        else:
            # A part of a micro-batch: the module draws its own bits, so that only the whole micro-batch has those of
            # these rows. The other rows are copies, whose outputs are dropped.
            if hidden is not None and hidden.shape[0] > 1:
                hidden = rows.widen(hidden)
            found, weights = self._whole(rows.widen(x), rows.widen(read), hidden, weighs=record is not None)
            found, weights = rows.take(found), None if weights is None else rows.take(weights)
        if record is not None and weights is not None:
            record.append(weights[..., : read.shape[1]])  # the keys of `bias_k` and `add_zero_attn` come last
        # (B or 1, 1, Q, 1) -> (B or 1, Q, 1)
        return found if seeing is None else found.masked_fill(~seeing[:, 0], 0.0)

    def _whole(self, x: Tensor, read: Tensor, hidden: Tensor | None, *, weighs: bool) -> tuple[Tensor, Tensor | None]:
        """The module's output (B, Q, D) and, with `weighs`, its weights (B, H, Q, K). `hidden` (B or 1, 1, Q, K) is
        true where a query does not see a key."""
        module, mask = self.multihead, None
        if hidden is not None:
            shape = (x.shape[0], self.num_heads, *hidden.shape[2:])
            mask = hidden[0, 0] if hidden.shape[0] == 1 else hidden.expand(shape).flatten(0, 1)
        # Another tensor than the query, so that the result of `forward` does not depend on the mode.
        keys = read.view_as(read)
        given = (x, keys) if module.batch_first else (x.transpose(0, 1), keys.transpose(0, 1))
        with self._bits(x.device):
            found, weights = module(
                given[0], given[1], given[1], attn_mask=mask, need_weights=weighs, average_attn_weights=False
            )
        return found if module.batch_first else found.transpose(0, 1), weights

    @contextmanager
    def _bits(self, device: torch.device) -> Iterator[None]:
        """Seed PyTorch's generator, which the module's dropout uses, with the key and the site of this layer."""
        if not self.training or self.drop.p == 0:
            yield
            return
        seed = self.drop.noise.generator(self.drop.site, torch.device("cpu")).initial_seed()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
