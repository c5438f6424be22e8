"""A user's inputs as rows of the model's input kind, and the prompts that stand beside them.

    inputs = listed(inputs)
    rows = read_rows(kind, inputs, "texts")
    prompts = prompt_ids(model, inputs, config, len(rows))

References to images and sound (data/media.py), members of tar archives and URLs are opened here; all else is read by
the kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from antiphon.config import GenerationConfig
from antiphon.data.media import Reference, is_part, located, open_media
from antiphon.data.whole_rows import TableRow
from antiphon.errors import ConfigError
from antiphon.generation.protocols import AnsweringModel
from antiphon.inputs import InputKind
from antiphon.urls import is_url


def listed(inputs: Any) -> Any:
    """`inputs`, of an iterator all its items, since they are looked at twice."""
    return list(inputs) if isinstance(inputs, Iterator) else inputs


def read_rows(kind: InputKind[Any], inputs: Any, what: str, *, names: bool = True, template: bool = True) -> list[Any]:
    """The rows of `inputs`, as `InputKind.read` with its errors."""
    items = [inputs] if isinstance(inputs, str) else inputs
    if kind.has_tokens or not isinstance(items, list | tuple) or not any(map(_is_elsewhere, items)):
        return kind.read(inputs, what, names=names, template=template)
    return [
        _loaded(kind, item) if _is_elsewhere(item) else kind.read([item], what, names=names, template=template)[0]
        for item in items
    ]


def _is_elsewhere(item: object) -> bool:
    """Whether an input is a reference, or names a part of a file or a URL."""
    return isinstance(item, Reference) or (isinstance(item, str) and (is_part(item) or is_url(item)))


def _loaded(kind: InputKind[Any], reference: str) -> Any:
    with open_media(reference) as file:
        return kind.load(file, f"`{reference}`")


def sources_of_table(model: object, rows: Sequence[TableRow], table: str) -> list[str]:
    """The sources of rows of the file `table`: their texts, or for a model of images or sound references, relative to
    the table, with the prompts in the column `prompt` or `question`."""
    kind = getattr(model, "input_kind", None)  # a model that another library computes has none
    if kind is None or kind.has_tokens:
        return [row.text for row in rows]
    found = []
    for row in rows:
        record = dict(zip(row.names, row.values, strict=False))
        prompt = record.get("prompt", record.get("question"))
        found.append(located(row.text, table=table, prompt=prompt if isinstance(prompt, str) else ""))
    return found


def prompt_ids(model: AnsweringModel, inputs: Any, config: GenerationConfig, count: int) -> list[tuple[int, ...]]:
    """The ids of the prompt of each of `count` inputs: of `config.prompt`, else of the reference. ConfigError for
    another number of prompts."""
    texts = config.prompt
    if texts is None:
        items: Sequence[Any] = inputs if isinstance(inputs, list | tuple) else [inputs] * count
        texts = tuple(item.prompt if isinstance(item, Reference) else "" for item in items)
    found = (texts,) * count if isinstance(texts, str) else texts
    if len(found) != count:
        raise ConfigError(f"`prompt` must be one text, or one for each of the {count} inputs, but has {len(found)}.")
    tokenizer = model.target_tokenizer
    known = {text: tuple(tokenizer.bare(tokenizer.encode(text))) if text else () for text in dict.fromkeys(found)}
    return [known[text] for text in found]
