"""Denoising objectives: training pairs from plain text, a part of which is hidden or moved and must be restored.

    data:
      train: {text: news.txt.gz, objective: {span_corruption: {density: 0.15, mean_span: 3}}}

| objective              | source                                | target    | reference                        |
|------------------------|---------------------------------------|-----------|----------------------------------|
| `span_corruption`      | the text, a sentinel for each span    | the spans | Raffel et al. 2020, 3.1.4, 3.3.4 |
| `text_infilling`       | the text, a mask for each span        | the text  | Lewis et al. 2020, 2.2           |
| `sentence_permutation` | the text's sentences in another order | the text  | Lewis et al. 2020, 2.2           |
| `prefix_lm`            | its beginning                         | the rest  | Raffel et al. 2020, 3.2.1        |

An objective is a function of (ids of a text, random.Random, DenoisingTokens). It returns the ids of a source and of a
target, both without the special tokens around a text. A pair with an empty side is left out. A list of objectives is a
pipeline: each is applied to the source that the previous one returned, and the target is that of the first one.
`[sentence_permutation, text_infilling]` is BART's. A custom objective is `module:Name`, or registered as
`@register("objective", "name")`; its settings are keyword arguments.

The noise is a pure function of (seed, epoch, source, text, piece), so a resumed run equals an uninterrupted one, and
streamed data equals data in memory. Only `chance.random()` is used: no other method of random.Random is promised to be
stable across versions of Python.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from antiphon.config import SourceConfig, source_list
from antiphon.data.filters import maker
from antiphon.data.lines import DataPlace
from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.registry import register
from antiphon.settings import Range, Settings, inside, saying
from antiphon.text import DenoisingTokens, Tokenizer

Sides = tuple[list[int], list[int]]
Objective = Callable[[list[int], random.Random, DenoisingTokens], Sides]
Density = Annotated[float, Range(low=0, high=1, open_low=True)]

_TRIAL = "One line. And another one, in 3 words."


@register("objective", "span_corruption")
@dataclass(frozen=True)
class SpanCorruption(Settings):
    """Hides `density` of the tokens in spans of `mean_span` tokens on average.

    Each span is replaced by its own sentinel in the source. The target is each sentinel followed by its span, and a
    final sentinel. As in T5 the number of hidden tokens and of spans is fixed, and their lengths are drawn uniformly
    over all divisions. Unlike T5's code, a text may begin with a span, and may end without one.
    """

    density: Density = 0.15
    mean_span: Annotated[float, Range(low=1)] = 3.0

    def __call__(self, ids: list[int], chance: random.Random, special: DenoisingTokens) -> Sides:
        sentinels, length = special.sentinels, len(ids)
        # At least two tokens stay visible, so that neither side is longer than a text of three or more tokens.
        hidden = min(max(1, round(length * self.density)), max(1, length - 2))
        kept = length - hidden
        count = min(max(1, round(hidden / self.mean_span)), hidden, max(1, kept - 1), len(sentinels) - 1)
        spans = _composition(hidden, count, chance)
        gaps = _composition(kept + 2, count + 1, chance)  # the first and the last may be empty
        source, target, place = ids[: gaps[0] - 1], [], gaps[0] - 1
        for number, (span, gap) in enumerate(zip(spans, [*gaps[1:-1], gaps[-1] - 1], strict=True)):
            source.append(sentinels[number])
            target += [sentinels[number], *ids[place : place + span]]
            source += ids[place + span : place + span + gap]
            place += span + gap
        return source, [*target, sentinels[count]]


@register("objective", "text_infilling")
@dataclass(frozen=True)
class TextInfilling(Settings):
    """Replaces spans by one mask each. Lengths are Poisson with mean `mean_span`; `density` of the tokens are hidden.

    A span of length 0 inserts a mask. There are never so many of these that the source gets longer than the text.
    """

    density: Density = 0.3
    mean_span: Annotated[float, Range(low=0, high=100, open_low=True)] = 3.0

    def __call__(self, ids: list[int], chance: random.Random, special: DenoisingTokens) -> Sides:
        hidden = max(1, round(len(ids) * self.density))
        lengths, left = [], hidden
        while left:
            length = min(_poisson(self.mean_span, chance), left)
            if length or len(lengths) + left < hidden:
                lengths.append(length)
                left -= length
        lengths = _shuffled(lengths, chance)  # the last length was truncated to reach `density`
        masks = iter(lengths)
        source, place = [], 0
        for masked in _drawn(len(ids) - hidden + len(lengths), len(lengths), chance):
            source.append(special.mask if masked else ids[place])
            place += next(masks) if masked else 1
        return source, list(ids)


@register("objective", "sentence_permutation")
def sentence_permutation(ids: list[int], chance: random.Random, special: DenoisingTokens) -> Sides:
    """Shuffle the sentences; all orders are equally likely."""
    return [id for sentence in _shuffled(special.sentences(ids), chance) for id in sentence], list(ids)


@register("objective", "prefix_lm")
def prefix_lm(ids: list[int], chance: random.Random, special: DenoisingTokens) -> Sides:
    """Split the text in two at a random position. A single token cannot be split and gives an empty source."""
    place = 1 + int(chance.random() * (len(ids) - 1)) if len(ids) > 1 else 0
    return ids[:place], ids[place:]


def _composition(total: int, parts: int, chance: random.Random) -> list[int]:
    """`total` as a sum of `parts` positive integers, drawn uniformly from all such sums."""
    cuts = [place for place, cut in enumerate(_drawn(total - 1, parts - 1, chance), 1) if cut]
    return [end - start for start, end in zip([0, *cuts], [*cuts, total], strict=True)]


def _drawn(count: int, size: int, chance: random.Random) -> Iterator[bool]:
    """For each of `count` items whether it is in a random sample of `size` (Knuth, 3.4.2, algorithm S)."""
    for rest in range(count, 0, -1):
        taken = rest * chance.random() < size
        size -= taken
        yield taken


def _shuffled(items: Sequence[Any], chance: random.Random) -> list[Any]:
    keys = [chance.random() for _ in items]
    return [items[number] for number in sorted(range(len(items)), key=keys.__getitem__)]


def _poisson(mean: float, chance: random.Random) -> int:
    """A draw by multiplying uniform numbers (Knuth, 3.4.1, algorithm Q)."""
    number, product, end = 0, chance.random(), math.exp(-mean)
    while product > end:
        number, product = number + 1, product * chance.random()
    return number


def load_objectives(data: object, folder: Path | None = None) -> dict[int, Objective]:
    """The objective of each plain-text source of `data`, by source number; `module:Name` is looked up in `folder`.

    Raises ConfigError for an unknown name or a wrong setting.
    """
    found: dict[int, Objective] = {}
    for number, source in enumerate(source_list(data)):
        items = source.objective if isinstance(source.objective, tuple) else ()
        parts: list[Objective] = []
        for item in items:
            [(name, values)] = item.items() if isinstance(item, Mapping) else [(str(item), None)]
            with nullcontext() if isinstance(data, SourceConfig) else inside(str(number)), inside("objective"):
                with saying():
                    made = maker("objective", str(name), values, folder, arguments=3)()
                parts.append(_checked(str(name), made))
        if parts:
            found[number] = _together(parts)
    return found


def _checked(name: str, part: Any) -> Objective:
    """Wrap an objective so that an exception, or a result that is not a pair of id lists, is an error with its name."""

    def objective(ids: list[int], chance: random.Random, special: DenoisingTokens) -> Sides:
        try:
            found = part(ids, chance, special)
        except AntiphonError:
            raise  # the tokenizer lacks a special token
        except Exception as error:  # a user's function may raise anything
            raise DataError(f"the objective `{name}` raised {type(error).__name__}: {error}. Correct it.") from error
        if not (isinstance(found, tuple) and len(found) == 2 and all(isinstance(side, list) for side in found)):
            raise DataError(f"the objective `{name}` must return two lists of ids, but returned {found!r:.80}.")
        return found

    return objective


def _together(parts: Sequence[Objective]) -> Objective:
    """A pipeline: each objective is applied to the source of the previous one; the target is that of the first."""

    def objective(ids: list[int], chance: random.Random, special: DenoisingTokens) -> Sides:
        source, target = parts[0](ids, chance, special)
        for part in parts[1:]:
            if source:
                source, _ = part(source, chance, special)
        return source, target

    return objective


class Denoiser:
    """Makes pairs of ids from the ids of texts. A text of more than `max_length` tokens is cut into equal pieces."""

    def __init__(self, objective: Objective, tokenizer: Tokenizer, max_length: int) -> None:
        self._objective, self._tokenizer, self._max_length = objective, tokenizer, max_length
        self._tokens = DenoisingTokens(tokenizer)
        # Run once on a trial text: a missing special token is an error now rather than during training.
        objective(tokenizer.bare(tokenizer.encode(_TRIAL)), random.Random(0), self._tokens)

    def pairs(self, prefix: list[int], text: list[int], key: str, place: DataPlace) -> Iterator[Sides]:
        """The source and the target of each piece of `text`; `prefix` begins each source. DataError names `place`.

        All ids, in and out, include the tokenizer's special tokens around a text. The noise is a function of `key`.
        """
        prefix, text = self._tokenizer.bare(prefix), self._tokenizer.bare(text)
        piece_length = self._max_length - len(self._tokenizer.enclose(prefix))
        if piece_length < 1:
            raise DataError(
                f"`data.max_length` must leave room for text after a `tag` and a `prefix` of {len(prefix)} tokens, but "
                f"is {self._max_length} ({place}). Raise it, or shorten them."
            )
        count = -(-len(text) // piece_length)
        for number in range(count):
            piece = text[len(text) * number // count : len(text) * (number + 1) // count]
            source, target = self._objective(piece, random.Random(f"{key} {number}"), self._tokens)
            if source and target:
                yield self._tokenizer.enclose([*prefix, *source]), self._tokenizer.enclose(target)


def make_denoisers(
    objectives: Mapping[int, Objective], source: Tokenizer, target: Tokenizer, max_length: int
) -> dict[int, Denoiser]:
    """A denoiser for each of `objectives`; ConfigError where the two sides have tokenizers of their own."""
    if objectives and source is not target:
        raise ConfigError(
            "an objective on plain text needs one tokenizer for both sides, but source and target have their own. Set "
            "`tokenizer.shared` to true."
        )
    return {number: Denoiser(objective, source, max_length) for number, objective in objectives.items()}
