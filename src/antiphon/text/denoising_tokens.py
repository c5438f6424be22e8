"""The special tokens of denoising objectives: sentinels (Raffel et al. 2020) and a mask (Lewis et al. 2020).

    special = DenoisingTokens(tokenizer)
    special.sentinels[0], special.mask      # the ids of <extra_id_0> and <mask>; ConfigError if it has none

A tokenizer that is trained for a recipe with an objective has all DENOISING_TOKENS. Published tokenizers of T5 have the
sentinels, those of BART the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from antiphon.errors import ConfigError
from antiphon.text.tokenizer import Tokenizer

SENTINELS = 100  # as in T5; with 15 % hidden in spans of 3 they suffice for texts of 1,980 tokens
MASKS = ("<mask>", "[MASK]")
DENOISING_TOKENS = [MASKS[0], *(f"<extra_id_{number}>" for number in range(SENTINELS))]

_STOPS, _WIDE_STOPS = (".", "!", "?", "…"), ("。", "！", "？")  # no space follows a wide one
_SPACE = "▁"  # a space inside a sentencepiece token


class DenoisingTokens:
    """The denoising tokens of `tokenizer`, and its sentence boundaries."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._vocabulary = tokenizer.vocabulary
        self._kinds: dict[int, tuple[bool, bool, bool]] = {}

    @cached_property
    def sentinels(self) -> tuple[int, ...]:
        """The ids of <extra_id_0>, <extra_id_1> and so on, in the order of their use: at least two."""
        found: list[int] = []
        while (id := self._vocabulary.special_id(f"<extra_id_{len(found)}>")) is not None:
            found.append(id)
        if len(found) < 2:
            raise _missing("`<extra_id_0>`, `<extra_id_1>` and so on")
        return tuple(found)

    @cached_property
    def mask(self) -> int:
        """The id of <mask>."""
        found = [id for name in MASKS if (id := self._vocabulary.special_id(name)) is not None]
        if not found:
            raise _missing(f"`{MASKS[0]}`")
        return found[0]

    def sentences(self, ids: Sequence[int]) -> list[list[int]]:
        """`ids` split after each full stop, question or exclamation mark that is followed by a space or the end."""
        found: list[list[int]] = [[]]
        for id, following in zip(ids, [*ids[1:], None], strict=True):
            found[-1].append(id)
            _, stops, wide = self._kind(id)
            if following is not None and (wide or (stops and self._kind(following)[0])):
                found.append([])
        return found

    def _kind(self, id: int) -> tuple[bool, bool, bool]:
        """Whether a token begins with a space, ends with a stop, and ends with a wide stop."""
        known = self._kinds.get(id)
        if known is None:
            piece = self._vocabulary.piece(id)
            known = piece.startswith((_SPACE, " ")), piece.endswith(_STOPS), piece.endswith(_WIDE_STOPS)
            self._kinds[id] = known
        return known


def _missing(names: str) -> ConfigError:
    return ConfigError(
        f"the tokenizer must have the special tokens {names} for this objective, but has none. Let the recipe train "
        "one (for example `tokenizer: {kind: bpe}`), which gets them, or give a tokenizer.json that has them."
    )
