"""From the settings `allowed`, `required` and `forbidden` to the constraint of each row's answer.

    constraints = restrict(config, ConstraintBuilder(tokenizer, special_tokens, vocab_size), count=3, first_row=0)

`allowed` may be combined with the others: of its texts those remain that contain all required phrases and no forbidden
one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from antiphon.config import GenerationConfig
from antiphon.constraints.automaton import MAX_REQUIRED_PHRASES, Automaton
from antiphon.constraints.constraint import Constraint
from antiphon.constraints.phrases import PhraseConstraint
from antiphon.constraints.spelling import TokenTexts
from antiphon.constraints.trie import TrieConstraint
from antiphon.errors import ConfigError, DataError
from antiphon.search.special_tokens import SpecialTokens
from antiphon.settings import show
from antiphon.text import Tokenizer, clean_text


class ConstraintBuilder:
    """Builds the constraints for one target vocabulary, whose network scores `vocab_size` ids."""

    def __init__(self, tokenizer: Tokenizer, special_tokens: SpecialTokens, vocab_size: int) -> None:
        self.tokenizer, self.special_tokens, self.vocab_size = tokenizer, special_tokens, vocab_size

    @functools.cached_property
    def spelling(self) -> TokenTexts:
        """The text of each id, computed when the first phrase is used."""
        return TokenTexts(self.tokenizer)

    def make(
        self, allowed: Sequence[str] | None, required: Sequence[str], forbidden: Sequence[str], *, row: int
    ) -> Constraint:
        """The constraint of a row; DataError, which names the row, if no answer can satisfy it."""
        if len(required) > MAX_REQUIRED_PHRASES:
            raise _fault("required", row, f"must be at most {MAX_REQUIRED_PHRASES} phrases, but are {len(required)}")
        self._check(required, forbidden, row)
        if allowed is not None:
            return self._trie(allowed, required, forbidden, row)
        closed = self.special_tokens.suppressed
        return PhraseConstraint(
            self.spelling,
            required=required,
            forbidden=forbidden,
            end=self.special_tokens.end,
            size=self.vocab_size,
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
            rows.append([*ids, self.special_tokens.end])
        return TrieConstraint(rows, end=self.special_tokens.end, size=self.vocab_size)

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
    """The constraint of each of `count` rows, None if its answer is free; rows with equal settings share one object.

    Texts are normalized as the tokenizer does it (case, Unicode form), as prefixes and scored targets are.
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
    """DataError if a source is split, but its constraint applies to the whole answer."""
    if parts > 1 and restriction is not None and not restriction.splits:
        raise DataError(
            f"the source of input {row + 1} must not be split where its answer is restricted as a whole, "
            f"but has {parts} parts. Shorten it, or set `overflow` to truncate."
        )


def _fault(name: str, row: int, problem: str) -> DataError:
    return DataError(f"`{name}` of input {row + 1} {problem}. Change it.")


def texts_of_rows(name: str, texts: Sequence[object] | None, count: int) -> list[tuple[str, ...] | None]:
    """The texts of each row, without repetitions; ConfigError if they are for another number of rows."""
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
    return found | automaton.found_at_border[place] == automaton.all_required
