"""Turns the inputs of a call into rows, and these into inputs of the search: parts of sources, prompts, prefixes and
constraints.

References to images and sound (data/media), members of tar archives and URLs are opened here; the input kind reads all
else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from antiphon.config import GenerationConfig
from antiphon.data.media.references import Reference, is_part, located, open_media
from antiphon.errors import ConfigError
from antiphon.generation.languages import answer_ids
from antiphon.generation.protocols import AnsweringModel
from antiphon.generation.restricting import check_parts, restrict
from antiphon.inputs import ImageTextInput, InputKind
from antiphon.inputs.image_text import ImageText
from antiphon.search.requests import SourceInput
from antiphon.settings import override
from antiphon.urls import is_url

if TYPE_CHECKING:
    from antiphon.data.whole_rows import TableRow


def source_inputs(
    model: AnsweringModel,
    rows: Sequence[Any],
    config: GenerationConfig,
    *,
    first_row: int = 0,
    prompts: Sequence[tuple[int, ...]] = (),
) -> list[SourceInput]:
    """The inputs of the search: none for an empty row, one for each part of a row that is split.

    `rows` are rows of the model's input kind; errors count them from `first_row`. `prompts`: the ids of the prompt of
    each row, which all of its parts have.
    """
    prefixes = prefix_ids(model, config.prefix, len(rows))
    restrictions = restrict(config, model.restrictor, count=len(rows), first_row=first_row)
    found: list[SourceInput] = []
    parts_of_rows = model.input_kind.parts(rows, network=model.network, config=config, first_row=first_row)
    for i, (parts, gaps) in enumerate(parts_of_rows):
        row = first_row + i
        if parts:
            check_parts(restrictions[i], len(parts), row=row)
        # A prefix begins the whole answer, so that only the first part has it.
        found += [
            SourceInput(
                part,
                row,
                n,
                () if n else prefixes[i],
                restrictions[i],
                gap,
                prompts[i] if prompts else (),
                model.input_kind.text_tokens(part),
            )
            for n, (part, gap) in enumerate(zip(parts, gaps, strict=True))
        ]
    return found


def with_limits(config: GenerationConfig, overflow: str | None, max_source_tokens: int | None) -> GenerationConfig:
    """`config` with these settings for long sources; None leaves a setting unchanged."""
    asked = {"overflow": overflow, "max_source_tokens": max_source_tokens}
    return override(config, {name: value for name, value in asked.items() if value is not None})


def prefix_ids(model: AnsweringModel, prefix: str | tuple[str | None, ...] | None, count: int) -> list[tuple[int, ...]]:
    """The ids with which the answer of each of `count` rows begins."""
    rows = prefix if isinstance(prefix, tuple) else (prefix,) * count
    if len(rows) != count:
        raise ConfigError(f"`prefix` must be one text, or one for each of the {count} inputs, but has {len(rows)}.")
    known: dict[str | None, tuple[int, ...]] = {None: (), "": ()}
    for text in rows:
        if text is not None and text not in known:
            ids = model.special_tokens.without_first(
                answer_ids([text], model.target_tokenizer, model.special_tokens)[0]
            )
            known[text] = tuple(id for id in ids if id != model.special_tokens.end)
    return [known[text] for text in rows]


def listed(inputs: Any) -> Any:
    """`inputs`, of an iterator all its items, since they are looked at twice."""
    return list(inputs) if isinstance(inputs, Iterator) else inputs


def read_rows(kind: InputKind[Any], inputs: Any, what: str, *, names: bool = True, template: bool = True) -> list[Any]:
    """The rows of `inputs`, as `InputKind.read` with its errors."""
    items = [inputs] if isinstance(inputs, str) else inputs
    elsewhere = _is_reference if kind.has_tokens else _is_elsewhere
    if (
        (kind.has_tokens and not kind.joins_text)
        or not isinstance(items, list | tuple)
        or not any(map(elsewhere, items))
    ):
        return kind.read(inputs, what, names=names, template=template)
    return [
        _loaded(kind, item) if elsewhere(item) else kind.read([item], what, names=names, template=template)[0]
        for item in items
    ]


def read_inputs(
    model: AnsweringModel, inputs: Any, what: str, config: GenerationConfig, *, names: bool = True
) -> tuple[list[Any], list[tuple[int, ...]]]:
    """The rows of `inputs`, as `read_rows`, and the ids of the prompt of each, as `prompt_ids`, with their errors. For
    a kind that joins texts, the prompt of an image is the text beside it."""
    kind = model.input_kind
    rows = read_rows(kind, inputs, what, names=names, template=config.template)
    if isinstance(kind, ImageTextInput) and config.prompt is not None:
        rows, config = _with_prompts(kind, rows, inputs, config)
    return rows, prompt_ids(model, inputs, config, len(rows))


def _with_prompts(
    kind: ImageTextInput, rows: list[Any], inputs: Any, config: GenerationConfig
) -> tuple[list[Any], GenerationConfig]:
    """The rows with the prompts of `config` beside their images, and `config` with those of the other rows."""
    items = inputs if isinstance(inputs, list | tuple) else [inputs]
    if any(isinstance(item, Mapping) and item.get("text") for item in items):
        raise ConfigError("`prompt` must be left out for an image with a `text`, but is given. Drop one.")
    prompts = prompt_texts(inputs, config, len(rows))
    pairs = list(zip(rows, prompts, strict=True))
    joined = [kind.with_prompt(row, text or "") if isinstance(row, ImageText) else row for row, text in pairs]
    rest = tuple("" if isinstance(row, ImageText) else text for row, text in pairs)
    return joined, override(config, {"prompt": rest})


def _is_reference(item: object) -> bool:
    return isinstance(item, Reference)


def _is_elsewhere(item: object) -> bool:
    """Whether an input is a reference, or names a part of a file or a URL."""
    return isinstance(item, Reference) or (isinstance(item, str) and (is_part(item) or is_url(item)))


def _loaded(kind: InputKind[Any], reference: str) -> Any:
    with open_media(reference) as file:
        row = kind.load(file, f"`{reference}`")
    return kind.with_text(row, located(reference).prompt) if kind.joins_text else row


def sources_of_table(model: object, rows: Sequence[TableRow], table: str) -> list[str]:
    """The sources of rows of the file `table`: their texts, or for a model of images or sound references, relative to
    the table, with the prompts in the column `prompt` or `question`."""
    kind = getattr(model, "input_kind", None)  # a model that another library computes has none
    if kind is None or (kind.has_tokens and not kind.joins_text):
        return [row.text for row in rows]
    found = []
    for row in rows:
        record = dict(zip(row.names, row.values, strict=False))
        prompt, image = record.get("prompt", record.get("question")), row.text
        if kind.joins_text:
            image = row.text if isinstance(row.text, Reference) else record.get("image")
            prompt = prompt if row.text == image else row.text
            if not image:
                found.append(prompt if isinstance(prompt, str) else "")
                continue
        found.append(located(image, table=table, prompt=prompt if isinstance(prompt, str) else ""))
    return found


def prompt_ids(model: AnsweringModel, inputs: Any, config: GenerationConfig, count: int) -> list[tuple[int, ...]]:
    """The ids of the prompt of each of `count` inputs, as `prompt_texts` with its errors."""
    found, tokenizer = prompt_texts(inputs, config, count, kind=model.input_kind), model.target_tokenizer
    known = {text: tuple(tokenizer.bare(tokenizer.encode(text))) if text else () for text in dict.fromkeys(found)}
    return [known[text] for text in found]


def prompt_texts(
    inputs: Any, config: GenerationConfig, count: int, *, kind: InputKind[Any] | None = None
) -> Sequence[str | None]:
    """The prompt of each of `count` inputs of `kind`: that of `config.prompt`, else of the reference. ConfigError for
    another number of prompts."""
    texts = config.prompt
    if texts is None:
        items: Sequence[Any] = inputs if isinstance(inputs, list | tuple) else [inputs] * count
        joins = kind is not None and kind.joins_text  # the text is read with the image
        texts = tuple(item.prompt if isinstance(item, Reference) and not joins else "" for item in items)
    found = (texts,) * count if isinstance(texts, str) else texts
    if len(found) != count:
        raise ConfigError(f"`prompt` must be one text, or one for each of the {count} inputs, but has {len(found)}.")
    return found
