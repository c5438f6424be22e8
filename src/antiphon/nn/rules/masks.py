"""Score rules that mask keys by position. Positions count the tokens of a row or segment, without padding."""

from __future__ import annotations

from torch import Tensor

from antiphon.nn.rules.rule import ScoreRule
from antiphon.nn.rules.settings import whole
from antiphon.registry import register


@register("attention", "window")
class Window(ScoreRule):
    """A query sees `window` keys on the left and `right` keys on the right (None: `window`), itself included in both,
    `dilation` positions apart; under a causal mask only those on the left. The first `sinks` tokens are always visible.

    Beltagy et al. 2020, Longformer, section 3.1, "Sliding Window" and "Dilated Sliding Window"; its figures count both
    sides together. The sinks are those of Xiao et al. 2024, StreamingLLM, section 3.2, which also counts positions
    anew within the cache: here a token keeps its position.
    """

    additive = True

    def __init__(self, window: int, *, dilation: int = 1, sinks: int = 0, right: int | None = None) -> None:
        super().__init__()
        self.window = whole("window", window, least=1, hint="With 1, a token sees itself")
        self.dilation = whole("dilation", dilation, least=1, hint="With 1, there are no gaps")
        self.sinks = whole("sinks", sinks, least=0)
        self.right = None if right is None else whole("right", right, least=1, hint="With 1, a token sees itself")
        self.reach = ((window - 1) * dilation, ((right or window) - 1) * dilation, sinks)

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        if self.right is None:
            distance = (q_pos - k_pos).abs()
            seen = distance < self.window * self.dilation
        else:
            distance = q_pos - k_pos
            seen = (distance < self.window * self.dilation) & (-distance < self.right * self.dilation)
        if self.dilation > 1:
            seen = seen & (distance % self.dilation == 0)
        return seen | (k_pos < self.sinks) if self.sinks else seen


@register("attention", "block_local")
class BlockLocal(ScoreRule):
    """Blocks of `size` tokens: a query sees its own block and `neighbours` blocks on either side of it. The first
    `global_tokens` tokens are seen by all and see all.

    Zaheer et al. 2020, BigBird, section 2, with global tokens that are part of the row ("ITC") and without its random
    blocks; the global-local attention of Ainslie et al. 2020, ETC. In a decoder a global token sees those before it,
    so the reach is bounded; in an encoder or in cross-attention a global query sees every key, and it is not.
    """

    additive = True

    def __init__(self, size: int, *, neighbours: int = 0, global_tokens: int = 0) -> None:
        super().__init__()
        self.size = whole("size", size, least=1)
        self.neighbours = whole("neighbours", neighbours, least=0)
        self.global_tokens = whole("global_tokens", global_tokens, least=0)
        self.far = size * (neighbours + 1) - 1
        self._stand(sees_all=True)

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self._stand(sees_all=role != "decoder")

    def _stand(self, *, sees_all: bool) -> None:
        self.sees_all = sees_all and self.global_tokens > 0
        self.reach = None if self.sees_all else (self.far, self.far, self.global_tokens)

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        seen = (q_pos // self.size - k_pos // self.size).abs() <= self.neighbours
        if self.global_tokens:
            seen = seen | (k_pos < self.global_tokens)
        return seen | (q_pos < self.global_tokens) if self.sees_all else seen


@register("attention", "prefix_lm")
class PrefixLM(ScoreRule):
    """A query sees the first `length` tokens and those up to its own position.

    Raffel et al. 2020, T5, section 3.2.1, "causal with prefix". In an encoder that is a causal mask but for the prefix;
    across, the target token at position i sees the first max(length, i + 1) source tokens. In a decoder the stack's own
    causal mask applies and the rule changes nothing; use `Tokens.prefix` for a bidirectional prefix.
    """

    additive = True

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = whole("length", length, least=0)
        self.reach = (None, 0, length)

    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return (k_pos <= q_pos) | (k_pos < self.length)
