"""Text as input: reading texts, and the parts of long ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from antiphon.config import FamilyConfig, GenerationConfig, InputSettings, ModelConfig
from antiphon.errors import DataError
from antiphon.inputs.embeddings import SourceEmbedding
from antiphon.inputs.kind import InputKind, Source, SourceParts
from antiphon.inputs.leading_text import in_template, is_empty_text
from antiphon.inputs.limits import BoundedNetwork, source_limit
from antiphon.inputs.long_texts import pieces_of
from antiphon.nn.noise import Noise
from antiphon.settings import show
from antiphon.text import Tokenizer, clean_text
from antiphon.text.kinds import first_media_name


@dataclass(frozen=True)
class TextInput(InputKind[str]):
    """Texts, encoded by a tokenizer. Rows are texts, the network reads ids."""

    tokenizer: Tokenizer | None = None
    template: str = ""
    prefixes: tuple[str, ...] = ()

    has_tokens: ClassVar[bool] = True

    @classmethod
    def of(cls, family: FamilyConfig | None, settings: InputSettings | None) -> Self | None:
        return cls() if settings is None else None

    def with_tokenizer(self, tokenizer: Tokenizer, *, template: str = "", prefixes: Sequence[str] = ()) -> TextInput:
        return replace(self, tokenizer=tokenizer, template=template, prefixes=tuple(prefixes))

    def embedding(self, model: ModelConfig, ids: Callable[[], SourceEmbedding], noise: Noise) -> SourceEmbedding:
        return ids()

    def read(self, inputs: object, what: str, *, names: bool = True, template: bool = True) -> list[str]:
        return in_template(texts_of(inputs, what, names=names), self.template if template else "")

    def check_single(self, source: object) -> None:
        if not isinstance(source, str):
            raise DataError(f"`text` must be one text, but is {show(source)}. Call `generate` for several.")

    def is_empty(self, row: str) -> bool:
        return is_empty_text(row, self.prefixes)

    def parts(
        self, rows: Sequence[str], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[SourceParts]:
        limit, around = source_limit(network, config), sum(map(len, self._tokenizer.frame))
        return [
            SourceParts([], [])
            if len(ids) <= around or self.is_empty(text)
            else self._cut(text, ids, config.overflow, limit=limit, most=network.max_length, row=row)
            for row, (text, ids) in enumerate(zip(rows, self._tokenizer.encode_batch(rows), strict=True), first_row)
        ]

    def whole(
        self, rows: Sequence[str], *, network: BoundedNetwork, config: GenerationConfig, first_row: int = 0
    ) -> list[Source]:
        limit, overflow = source_limit(network, config), "error" if config.overflow == "split" else config.overflow
        return [
            self._cut(text, ids, overflow, limit=limit, most=network.max_length, row=row).parts[0]
            for row, (text, ids) in enumerate(zip(rows, self._tokenizer.encode_batch(rows), strict=True), first_row)
        ]

    def _cut(self, text: str, ids: list[int], overflow: str, *, limit: int, most: int, row: int) -> SourceParts:
        """The parts of one text, by `overflow`."""
        return pieces_of(
            text,
            ids,
            tokenizer=self._tokenizer,
            limit=limit,
            overflow=overflow,
            row=row,
            prefixes=self.prefixes,
            suffix=self.template.partition("{}")[2],
            most=most,
        )

    @property
    def _tokenizer(self) -> Tokenizer:
        assert self.tokenizer is not None, "`with_tokenizer` gives it"
        return self.tokenizer


def texts_of(texts: object, what: str, *, names: bool = True) -> list[str]:
    """The texts as a list, each with a UTF-8 form; DataError, which names `what`, for anything else.

    Without `names`, texts that are all names of image or sound files are refused too, because only a file's name would
    be read.
    """
    refused = "This model reads text, not speech."
    if not isinstance(texts, Iterable) or isinstance(texts, Mapping):  # of a mapping only the keys would be read
        raise DataError(f"`{what}` must be a text or several, but is {show(texts)}. {refused}")
    rows = [texts] if isinstance(texts, str) else list(texts)
    for row, text in enumerate(rows):
        if not isinstance(text, str):
            raise DataError(f"`{what}` must be texts, but number {row + 1} is {show(text)}. {refused}")
    if not names and (name := first_media_name(rows)) is not None:
        kind = f"is {show(name)}" if len(rows) == 1 else f"are names of files such as {show(name)}"
        raise DataError(f"`{what}` must be text, which this model reads, but {kind}. It reads no images or sounds.")
    return [clean_text(text) for text in rows]
