"""Attention whose logits come from a small network that looks at one query and one key, as tutorials print it::

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

_MOST_WIDTHS = 2  # arguments of a class that stand for widths


class ScorerAttention(WeightMixer):
    """Softmax over what `scorer` says of each (query, key) pair; the values are mixed by it (as in Bahdanau et al.
    2015, with any network in place of theirs).

    `scorer` is a `torch.nn.Module`, of which each mixer has a copy of its own and whose weights are kept as they are;
    or its class, which is made when the network is: each positional argument without a default that `settings` do not
    give, up to two, is the head width. It gives one number for each pair, (…) or (…, 1).

    A scorer with one argument is given the features of a pair. Which, the width of its first `nn.Linear` says:
    `head_dim`: q + k of each head; `num_heads * head_dim`: q + k of all heads side by side, one map for all heads;
    `2 * head_dim` and `2 * num_heads * head_dim`: [q; k] likewise. Where two of these are equal the first counts. One
    without an `nn.Linear` gets q + k of each head. A scorer with two arguments is given query and key, both
    (B, H, Q, K, D).

    Memory grows with the product of both lengths and the width. Its `nn.Dropout` layers draw their bits as all of the
    network do.
    """

    takes = ("num_kv_heads", "attention_dropout")
    features = ""  # "pair", "sum" or "both", and of which heads; setup decides
    joined = False

    def __init__(self, scorer: nn.Module | type[nn.Module], **settings: Any) -> None:
        super().__init__()
        object.__setattr__(self, "_made_with", ((), {}))  # it would keep a second copy of the scorer
        self.settings = settings
        if isinstance(scorer, nn.Module):
            if settings:
                raise ConfigError(
                    f"a scorer that is made already must have no settings, but `{type(scorer).__name__}` is given "
                    f"{settings!r:.100}. Give its class, or leave them out."
                )
            self.kind, self.scorer = type(scorer), copy.deepcopy(scorer)
            self.is_made = True
        elif isinstance(scorer, type) and issubclass(scorer, nn.Module):
            self.kind, self.is_made = scorer, False
            self.widths = _widths_of(scorer, settings)
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
            return ScorerAttention(self.kind) if self.is_made else self
        except ConfigError:
            return self

    def _derived(self) -> object:
        name, settings = spec_name(self.kind), self.settings
        if name is None:
            return None
        if self.is_made and (settings := _settings_of(self.scorer)) is None:
            return None
        return {name: settings} if settings else name

    def setup(
        self, *, d_model: int, num_heads: int, head_dim: int, role: str, bias: bool, dropout: float, noise: Noise
    ) -> None:
        if not self.is_made:
            self.scorer = _made(self.kind, dict.fromkeys(self.widths, head_dim) | self.settings)
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
        forms = {  # the width of the features -> what they are, and whether of all heads; of equal widths the last
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
    """How many arguments its forward takes, 1 or 2; ConfigError for any other number."""
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
    """The arguments of a scorer's class that are made the head width; ConfigError where they are too many."""
    found = inspect.signature(kind).parameters.values()
    needed = [each for each in found if each.default is each.empty and each.name not in settings]
    needed = [each for each in needed if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    names = [each.name for each in needed]
    if len(names) > _MOST_WIDTHS or any(each.kind is each.KEYWORD_ONLY for each in needed):
        raise ConfigError(
            f"the class of a scorer must need at most {_MOST_WIDTHS} positional arguments, which are the width of a "
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
    """Settings with which its class makes a scorer of the same shapes and plain attributes; None: none were found.

    Tried are the widths of its linear layers, as the class takes them.
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
    """What two modules of equal code have in common if they compute alike with equal weights."""
    found: list[object] = [(name, tuple(tensor.shape)) for name, tensor in scorer.state_dict().items()]
    for name, part in scorer.named_modules():
        if isinstance(part, Dropout | nn.Dropout):
            found.append((name, part.p))
            continue
        plain = {
            key: value
            for key, value in vars(part).items()
            if isinstance(value, bool | int | float | str) and key not in ("training", "given_by_user")
        }
        found.append((name, type(part), plain))
    return found
