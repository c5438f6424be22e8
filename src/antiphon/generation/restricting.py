"""From the settings `allowed`, `required` and `forbidden` to what the answer of each row must be.

    restrictions = restrict(config, ConstraintBuilder(tokenizer, marks, size), count=3, first_row=0)

`allowed` goes with the others: its texts are those that hold the required phrases and no forbidden one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from antiphon.config import GenerationConfig
from antiphon.constraints.automaton import MOST_REQUIRED, Automaton
from antiphon.constraints.phrases import PhraseConstraint
from antiphon.constraints.restriction import Constraint, TrieConstraint
from antiphon.constraints.spelling import TokenTexts
from antiphon.errors import ConfigError, DataError
from antiphon.search.special_tokens import SpecialTokens
from antiphon.settings import show
from antiphon.text import Tokenizer, clean_text


class ConstraintBuilder:
    """Makes the restrictions of one target vocabulary, whose network scores `size` ids."""

    def __init__(self, tokenizer: Tokenizer, marks: SpecialTokens, size: int) -> None:
        self.tokenizer, self.marks, self.size = tokenizer, marks, size

    @functools.cached_property
    def spelling(self) -> TokenTexts:
        """What each id writes; made when a phrase is first asked for."""
        return TokenTexts(self.tokenizer)

    def make(
        self, allowed: Sequence[str] | None, required: Sequence[str], forbidden: Sequence[str], *, row: int
    ) -> Constraint:
        """The restriction of a row; DataError, which names the row, where no answer can be like that."""
        if len(required) > MOST_REQUIRED:
            raise _fault("required", row, f"must be at most {MOST_REQUIRED} phrases, but are {len(required)}")
        self._check(required, forbidden, row)
        if allowed is not None:
            return self._trie(allowed, required, forbidden, row)
        closed = self.marks.suppressed
        return PhraseConstraint(
            self.spelling,
            required=required,
            forbidden=forbidden,
            end=self.marks.end,
            size=self.size,
            closed=closed,
        )

    def _trie(
        self, allowed: Sequence[str], required: Sequence[str], forbidden: Sequence[str], row: int
    ) -> TrieConstraint:
        texts = list(allowed)
        if required or forbidden:
            automaton = Automaton(required, forbidden)
            texts = [text for text in texts if _fits(automaton, text)]
        if not texts:
            problem = "must have a text with all that is required and nothing that is forbidden, but has none"
            raise _fault("allowed", row, problem)
        rows = []
        for text, ids in zip(texts, self.tokenizer.encode_batch(texts), strict=True):
            ids = self.tokenizer.visible(ids)
            if self.tokenizer.decode(ids) != text:
                problem = f"must be texts that the vocabulary can spell, but {show(text)} is none"
                raise _fault("allowed", row, problem)
            rows.append([*ids, self.marks.end])
        return TrieConstraint(rows, end=self.marks.end, size=self.size)

    def _check(self, required: Sequence[str], forbidden: Sequence[str], row: int) -> None:
        automaton = Automaton([], forbidden)
        for phrase in required:
            if "\ufffd" in phrase or self.spelling.spell(phrase.encode()) is None:
                problem = f"must be phrases that the vocabulary can spell, but {show(phrase)} is none"
                raise _fault("required", row, problem)
            if not _fits(automaton, phrase):
                other = next(other for other in forbidden if not _fits(Automaton([], [other]), phrase))
                problem = f"must not conflict with `forbidden`, but {show(phrase)} contains {show(other)}"
                raise _fault("required", row, problem)


def restrict(
    config: GenerationConfig, made: ConstraintBuilder, *, count: int, first_row: int
) -> list[Constraint | None]:
    """The restriction of each of `count` rows, None where there is none; equal ones are one object.

    Texts are taken in the tokenizer's own case and form, as prefixes and scored targets are.
    """

    @functools.cache  # rows often share one list
    def normal(texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if texts is None else tuple(dict.fromkeys(map(made.tokenizer.normal, texts)))

    allowed, required, forbidden = (
        [normal(texts) for texts in texts_of_rows(name, texts_given, count)]
        for name, texts_given in (
            ("allowed", config.allowed),
            ("required", config.required),
            ("forbidden", config.forbidden),
        )
    )
    known: dict[object, Constraint | None] = {(None, (), ()): None}
    found: list[Constraint | None] = []
    for i in range(count):
        key = (allowed[i], required[i] or (), forbidden[i] or ())
        if key not in known:
            known[key] = made.make(*key, row=first_row + i)
        found.append(known[key])
    return found


def check_parts(restriction: Constraint | None, parts: int, *, row: int) -> None:
    """DataError where a source is split, but its restriction is about the whole answer."""
    if parts > 1 and restriction is not None and not restriction.splits:
        raise DataError(
            f"the source of input {row + 1} must not be split where its answer is restricted as a whole, "
            f"but has {parts} parts. Shorten it, or set `overflow` to truncate."
        )


def _fault(name: str, row: int, problem: str) -> DataError:
    return DataError(f"`{name}` of input {row + 1} {problem}. Change it.")


def texts_of_rows(name: str, texts: Sequence[object] | None, count: int) -> list[tuple[str, ...] | None]:
    """The texts of each row, each once; ConfigError where they are for another number of rows."""
    if texts is None or all(isinstance(text, str) for text in texts):
        return [_unique(texts)] * count
    if len(texts) != count:
        raise ConfigError(
            f"`{name}` must be one list of texts, or one for each input (here {count}), but has lists for {len(texts)}."
        )
    return [_unique(entry) for entry in texts]  # type: ignore[arg-type]


def _unique(texts: Sequence[object] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(dict.fromkeys(clean_text(str(text)) for text in texts))


def _fits(automaton: Automaton, text: str) -> bool:
    place, found = automaton.read(0, text)
    return found | automaton.later[place] == automaton.everything
