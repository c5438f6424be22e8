"""Attention whose logits come from a small network of one query and one key, as in many tutorials::

class CustomAttention(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Tanh())

    def forward(self, x):                   # the features of a pair
        return self.attention(x)            # its logit

mixer = ScorerAttention(CustomAttention)    # or an instance, whose weights are kept
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.errors import AttentionError, ConfigError
from antiphon.nn.given import mark_given
from antiphon.nn.mixers.heads import WeightMixer
from antiphon.nn.mixers.mixer import Mixer
from antiphon.nn.noise import Dropout, Noise
from antiphon.nn.part import spec_name

_MAX_WIDTHS = 2  # positional arguments of a scorer's class that are set to the head width


class ScorerAttention(WeightMixer):
    """Attention with the logits `scorer(query, key)` (as in Bahdanau et al. 2015, with any network as scorer).

    `scorer` is a `torch.nn.Module`, which each mixer copies with its weights; or a class of modules, instantiated when
    the network is built. Up to two positional arguments of the class, without a default and not in `settings`, are
    set to the head width. A scorer returns one number for each pair, (…) or (…, 1).

    A scorer with one argument gets the features of a pair. The input width of its first `nn.Linear` decides which:
    `head_dim`: q + k of each head; `num_heads * head_dim`: q + k of all heads concatenated, one map for all heads;
    `2 * head_dim` and `2 * num_heads * head_dim`: [q; k] in the same way. If two of these widths are equal, the first
    applies. Without an `nn.Linear` it is q + k of each head. A scorer with two arguments gets query and key, both
    (B, H, Q, K, D).

    Memory grows with the product of both lengths and the width. `nn.Dropout` layers of the scorer use the same
    counter-based random numbers as the rest of the network.
    """

    takes = ("num_kv_heads", "attention_dropout")
    features = ""  # "pair", "sum" or "both", and of which heads; set by setup
    joined = False

    def __init__(self, scorer: nn.Module | type[nn.Module], **settings: Any) -> None:
        super().__init__()
        object.__setattr__(self, "_made_with", ((), {}))  # else a second copy of the scorer would be kept
        self.settings = settings
        if isinstance(scorer, nn.Module):
            if settings:
                raise ConfigError(
                    f"a scorer that is made already must have no settings, but `{type(scorer).__name__}` is given "
                    f"{settings!r:.100}. Give its class, or leave them out."
                )
            self.kind, self.scorer = type(scorer), copy.deepcopy(scorer)
            self._is_made = True
        elif isinstance(scorer, type) and issubclass(scorer, nn.Module):
            self.kind, self._is_made = scorer, False
            self._widths = _widths_of(scorer, settings)
        else:
            raise ConfigError(
                f"a scorer must be a torch.nn.Module or its class, but is {scorer!r:.100}. Give one that maps the "
                "features of a pair to a number."
            )
        _arguments_of(self.kind)

    @property
    def called(self) -> str:
        return f"the scorer `{self.kind.__name__}`"

    def of_any_size(self) -> Mixer:
        try:
            return ScorerAttention(self.kind) if self._is_made else self
        except ConfigError:
            return self

    def _derived(self) -> object:
        name, settings = spec_name(self.kind), self.settings
        if name is None:
            return None
        if self._is_made and (settings := _settings_of(self.scorer)) is None:
            return None
        return {name: settings} if settings else name

    def setup(
        self, *, d_model: int, num_heads: int, head_dim: int, role: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        if not self._is_made:
            self.scorer = _made(self.kind, dict.fromkeys(self._widths, head_dim) | self.settings)
        mark_given(self.scorer)
        for part in list(self.scorer.modules()):
            for name, child in list(part.named_children()):
                if type(child) is nn.Dropout:
                    setattr(part, name, Dropout(child.p, noise))
        super().setup(
            d_model=d_model, num_heads=num_heads, head_dim=head_dim, role=role, bias=bias, dropout=dropout, noise=noise
        )

    def make(self, *, d_model: int, bias: bool) -> None:
        if _arguments_of(self.kind) == 2:
            self.features = "pair"
            return
        first = next((part for part in self.scorer.modules() if isinstance(part, nn.Linear)), None)
        width, all_heads = self.head_dim, self.num_heads * self.head_dim
        forms = {  # width -> kind of features, and whether of all heads; of equal widths the last applies
            2 * all_heads: ("both", True),
            2 * width: ("both", False),
            all_heads: ("sum", True),
            width: ("sum", False),
        }
        wanted = width if first is None else first.in_features
        if wanted not in forms:
            raise ConfigError(
                f"the first linear layer of {self.called} must have {width} inputs (query + key of a head), "
                f"{all_heads} (of all heads), {2 * width} or {2 * all_heads} (query and key side by side), but has "
                f"{wanted}. Make it so wide, or give the class, which is made at the width of a head."
            )
        self.features, self.joined = forms[wanted]

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        if self.joined:  # (B,H,L,D) -> (B,1,L,H·D)
            q, k = (part.transpose(1, 2).flatten(2)[:, None] for part in (q, k))
        shape = (*q.shape[:3], k.shape[2])
        pair = [
            part.expand(*shape, part.shape[-1]) for part in (q[:, :, :, None], k[:, :, None])
        ]  # each (B, H or 1, Q, K, D)
        if self.features == "pair":
            found = self.scorer(*pair)
        else:
            found = self.scorer(pair[0] + pair[1] if self.features == "sum" else torch.cat(pair, -1))
        if isinstance(found, Tensor) and found.shape == (*shape, 1):
            found = found[..., 0]
        if not isinstance(found, Tensor) or found.shape != shape or not found.is_floating_point():
            gave = f"{tuple(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
            raise AttentionError(
                f"{self.called} in the role {self.role} must give one number a pair, {shape} or {(*shape, 1)}, but "
                f"gave {gave}."
            )
        return found.expand(-1, self.num_heads, -1, -1)


def _arguments_of(kind: type[nn.Module]) -> int:
    """The number of arguments of its forward, 1 or 2; ConfigError for any other number."""
    taken = [
        each
        for each in list(inspect.signature(kind.forward).parameters.values())[1:]
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    needed = [each.name for each in taken if each.default is each.empty]
    if kind.forward is nn.Module.forward or len(needed) > 2:
        takes = f"({', '.join(needed)})" if needed else "none of its own"
        raise ConfigError(
            f"the forward of a scorer must take the features of a pair, or a query and a key, but `{kind.__name__}` "
            f"has {takes}. Write a function of (q, k, v, mask), or a subclass of antiphon.nn.Mixer."
        )
    return max(1, len(needed))


def _widths_of(kind: type[nn.Module], settings: dict[str, Any]) -> list[str]:
    """The arguments of a scorer's class that are set to the head width; ConfigError if there are too many."""
    found = inspect.signature(kind).parameters.values()
    needed = [each for each in found if each.default is each.empty and each.name not in settings]
    needed = [each for each in needed if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    names = [each.name for each in needed]
    if len(names) > _MAX_WIDTHS or any(each.kind is each.KEYWORD_ONLY for each in needed):
        raise ConfigError(
            f"the class of a scorer must need at most {_MAX_WIDTHS} positional arguments, which are the width of a "
            f"head, but `{kind.__name__}` needs {', '.join(names)}. Give an instance, or the other ones as settings."
        )
    return names


def _made(kind: type[nn.Module], settings: dict[str, Any]) -> nn.Module:
    try:
        return kind(**settings)
    except Exception as error:  # the user's class may raise anything
        raise ConfigError(
            f"the scorer `{kind.__name__}` cannot be made with {settings!r:.100} ({type(error).__name__}: {error})."
        ) from error


def _settings_of(scorer: nn.Module) -> dict[str, Any] | None:
    """Settings with which the class creates a scorer of equal shapes and plain attributes; None if none are found.

    The widths of its linear layers are tried as arguments of the class.
    """
    kind = type(scorer)
    try:
        names = _widths_of(kind, {})
    except ConfigError:
        return None
    linears = [part for part in scorer.modules() if isinstance(part, nn.Linear)]
    first = linears[0].in_features if linears else 0
    outs = [part.out_features for part in linears[:1]]
    for widths in ([first] * len(names), [first, *outs][: len(names)], [*outs, first][: len(names)]):
        if len(widths) == len(names):
            settings = dict(zip(names, widths, strict=True))
            try:
                with torch.random.fork_rng(devices=[]):
                    again = kind(**settings)
            except Exception:
                continue
            if _outline(again) == _outline(scorer):
                return settings
    return None


def _outline(scorer: nn.Module) -> list[object]:
    """The shapes and attributes of a module. Modules of one class with equal outlines and weights compute the same."""
    found: list[object] = [(name, tuple(tensor.shape)) for name, tensor in scorer.state_dict().items()]
    for name, part in scorer.named_modules():
        if isinstance(part, Dropout | nn.Dropout):
            found.append((name, part.p))
            continue
        plain = {
            key: value
            for key, value in vars(part).items()
            if isinstance(value, bool | int | float | str) and key != "training" and key[0] != "_"
        }
        found.append((name, type(part), plain))
    return found
