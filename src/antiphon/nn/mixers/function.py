"""Attention by a plain function of queries, keys, values and a mask::

def cosine(q, k, v, mask):                  # (B,H,Q,D), (B,H,K,D), (B,H,K,D), bool (B or 1, H or 1, Q, K)
    scores = normalize(q, dim=-1) @ normalize(k, dim=-1).transpose(-1, -2)
    return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v            # (B,H,Q,D)

mixer = FunctionAttention(cosine)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import AntiphonError, AttentionError, ConfigError, memory_ran_out, one_line
from antiphon.nn.mixers.heads import WeightMixer, repeat_kv
from antiphon.nn.part import spec_name
from antiphon.nn.scores import Scores

ARGUMENTS = "(q, k, v, mask)"


class FunctionAttention(WeightMixer):
    """Attention whose heads are computed by `function(q, k, v, mask)`.

    q is (B, H, Q, D), k and v are (B, H, K, D), and `mask` is bool, (B or 1, H or 1, Q, K), true where a query may see
    a key; the result is (B, H, Q, D). Causality, padding and packed segments come by the mask alone: a function that
    ignores it sees later tokens, which `antiphon.check_attention` detects. For a query without visible keys the mask is
    all true and the output is set to zero, so that a softmax never gets an empty row. Keys and values are cached, and
    shared key and value heads are repeated. Rotary positions are applied before the call where the model has them.

    The function has no parameters of its own; a rule, a scorer or a Mixer may.
    """

    takes = ("num_kv_heads", "rotary")

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        if not callable(function) or isinstance(function, type):
            raise ConfigError(
                f"an attention function must be a function of {ARGUMENTS}, but is {function!r:.100}. Give a function."
            )
        if not takes_four(function):
            raise ConfigError(
                f"the attention function `{function_name(function)}` must take {ARGUMENTS}, but takes "
                f"{inspect.signature(function)}. Change its arguments."
            )
        self.function = function

    @property
    def called(self) -> str:
        return f"the attention function `{function_name(self.function)}`"

    def _derived(self) -> object:
        return spec_name(self.function)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, scores: Scores, record: list[Tensor] | None) -> Tensor:
        visible, seeing = scores.visible, scores.seeing
        if visible is None:
            visible = torch.ones(1, 1, *scores.shape[2:], dtype=torch.bool, device=q.device)
        if seeing is not None:
            visible = visible | ~seeing
        k, v = (repeat_kv(part, self.num_heads) for part in (k, v))
        try:
            found = self.function(q, k, v, visible)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            if memory_ran_out(error) or isinstance(error, AntiphonError):
                raise
            raise AttentionError(
                f"{self.called} in the role {self.role} raised {type(error).__name__}: {one_line(error)} (q "
                f"{tuple(q.shape)}, k and v {tuple(k.shape)}, mask {tuple(visible.shape)}, true where a query may see)."
            ) from error
        if not isinstance(found, Tensor) or found.shape != q.shape or not found.is_floating_point():
            gave = f"{tuple(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
            raise AttentionError(
                f"{self.called} in the role {self.role} must give (B,H,Q,D) = {tuple(q.shape)} of floating-point "
                f"numbers for q {tuple(q.shape)}, k and v {tuple(k.shape)} and mask {tuple(visible.shape)}, but gave "
                f"{gave}."
            )
        found = found.to(v.dtype)
        return found if seeing is None else found.masked_fill(~seeing, 0.0)


def function_name(function: Any) -> str:
    """The name of a function in messages."""
    return getattr(function, "__name__", type(function).__name__)


def takes_four(function: Any) -> bool:
    """Whether a function can be called with (q, k, v, mask). True if its signature is unknown, as for some functions of
    PyTorch."""
    try:
        inspect.signature(function).bind(None, None, None, None)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def is_attention_function(thing: Any) -> bool:
    """Whether `thing` is a function of (q, k, v, mask), and not a factory of a rule or a mixer, which requires no
    argument."""
    if not callable(thing) or isinstance(thing, type | torch.nn.Module) or not takes_four(thing):
        return False
    try:
        inspect.signature(thing).bind()
    except (TypeError, ValueError):
        return True
    return False
