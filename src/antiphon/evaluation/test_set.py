"""Test sets: sources with all their references, from aligned files, from tables, or from the recipe of a run.

examples = from_files("test.en", ["test.de"])
examples = from_tables(SourceConfig(path="test.tsv", tag="fre"), load_task("translation"))
tables, metrics = of_recipe("runs/multi30k")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from antiphon.config import SourceConfig
from antiphon.errors import DataError, UsageError, argument

if TYPE_CHECKING:
    from antiphon.generation.translator import Translator
    from antiphon.text.task import Task

TAG = re.compile(r"<([^\s<>]+)>")
DEFAULT_METRICS = ("bleu", "chrf")


class TestExample(NamedTuple):
    """A source (None if only references are given) with all its references, its file, and its location there."""

    source: str | None
    references: Sequence[str]
    file: str
    place: str


def from_files(
    source: str | None,
    targets: Sequence[str],
    *,
    model: Translator | None = None,
    read: Callable[[str], Iterable[str]] | None = None,
) -> list[TestExample]:
    """Each line of the file `source` with the same line of every file of `targets`.

    References are used as they are, except where the task of `model` changes targets, for example numbers to names of
    labels. read: the lines of a file, by its name. Raises DataError, with both counts, if the files differ in length,
    or if they are empty.
    """
    from antiphon.data.lines import LineReader, check_same_length

    read = read or LineReader
    files = [*([] if source is None else [source]), *targets]
    sides = [list(read(file)) for file in files]
    for file, side in zip(files, sides, strict=True):
        check_same_length(files[0], file, len(sides[0]), len(side))
    if not sides[0]:
        raise DataError(f"a test set must hold at least one line, but `{files[0]}` is empty.")
    sources: Sequence[str | None] = [None] * len(sides[0]) if source is None else sides.pop(0)
    rows = zip(sources, zip(*sides, strict=True), strict=True)
    found = [TestExample(*row, files[0], f"{files[0]}:{number}") for number, row in enumerate(rows, 1)]
    return found if model is None else made_by_task(found, model)


def made_by_task(examples: list[TestExample], model: Translator) -> list[TestExample]:
    """`examples` of files with their references as the task of `model` makes them, where it changes targets."""
    if not (model.labels or model.task == "right_to_left"):
        return examples
    task = task_of(model)
    return [one._replace(references=_made(one, task)) for one in examples]


def task_of(model: Translator) -> Task:
    """The task that `model` was trained for, with the labels of a classification."""
    from antiphon.text import load_task

    task = load_task(model.task, allow_import=False, labels=model.label_texts)
    kind = getattr(model, "input_kind", None)  # a model that another library computes has none
    if kind is None:
        return task
    return replace(task, media=not kind.has_tokens, images_in_texts=kind.joins_text)


def from_tables(data: SourceConfig | tuple[SourceConfig, ...], task: Task) -> list[TestExample]:
    """Every record of tables or pairs of files, as the task makes source and target of it."""
    from antiphon.config import source_list
    from antiphon.data.sources import cases

    return [
        TestExample(source, references, one.title, str(place))
        for one in source_list(data)
        for source, references, place in cases(one, task)
    ]


def table(text: str, *, fields: dict[str, Any] | None = None) -> tuple[SourceConfig, ...]:
    """The sources that a `--data` flag names: a file, or files as in a recipe, `{path: fre.tsv, tag: fre}`.

    fields: settings such as `source_field` for those that have none of their own.
    """

    from antiphon.recipe import read_yaml

    fields = fields or {}
    if not text.lstrip().startswith(("{", "[")):
        return (SourceConfig(path=text, **fields),)
    where = argument("data", flag="--data")
    made = _sources(read_yaml(f"data: {text}", where)[0]["data"], where)
    return tuple(
        replace(one, **{key: value for key, value in fields.items() if getattr(one, key) is None}) for one in made
    )


def of_recipe(model: str, *, command: str = "evaluate") -> tuple[tuple[SourceConfig, ...], list[Any]]:
    """The test set and the metrics in the recipe of a run; UsageError, about `command`, if it has no test set."""
    from antiphon.recipe import read_yaml

    options = (
        f"Give {argument('source', flag='--source')} and {argument('target', flag='--target')}, or "
        f"{argument('data', flag='--data')}."
    )
    files = [folder / "config.yaml" for folder in (Path(model), Path(model).parent)]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise UsageError(f"{command} needs a test set, but `{model}` is no run folder with a recipe. {options}")
    # Only parts of the recipe are read: its training data may no longer exist, or never have been a file.
    recipe, _ = read_yaml(file.read_text(encoding="utf-8"), str(file))
    data, validation = recipe.get("data"), recipe.get("validation")
    test = data.get("test") if isinstance(data, dict) else None
    if test is None or isinstance(test, str):
        raise UsageError(f"{command} needs a test set, but the run's recipe has no `data.test` (`{file}`). {options}")
    metrics = validation.get("metrics") if isinstance(validation, dict) else None
    return _sources(test, str(file)), metrics if isinstance(metrics, list) and metrics else list(DEFAULT_METRICS)


def names_of_files(examples: Sequence[TestExample]) -> list[str]:
    """The file of each example, by its name, or by its path if two have one name."""
    files = dict.fromkeys(one.file for one in examples)
    short = {file: Path(file).name for file in files}
    alone = len(set(short.values())) == len(files)
    return [short[one.file] if alone else one.file for one in examples]


def tags_of(examples: Sequence[TestExample]) -> list[str]:
    """The tag that each source begins with, such as fre of `<fre>`; DataError, with the place, for one without."""
    found = []
    for one in examples:
        source = one.source or ""
        tag = TAG.match(source)
        if tag is None:
            raise DataError(
                f"groups by tag need sources that begin with a tag such as <fre>, but this one is `{source:.40}` "
                f"({one.place}). Give {argument('data', flag='--data')} with its tag: '{{path: FILE, tag: fre}}'."
            )
        found.append(tag[1])
    return found


def _made(example: TestExample, task: Task) -> list[str]:
    """The references as the task makes them (a label by its name); DataError for an unknown label."""
    pairs = [task.pair({"source": example.source or "", "target": text}, where=example.place) for text in example[1]]
    return [target for _, target in pairs if target is not None]


def _sources(value: Any, where: str) -> tuple[SourceConfig, ...]:
    """Parse files as in a recipe: one, or a list."""
    from antiphon.config import DataConfig, source_list
    from antiphon.settings import SettingError

    try:
        return source_list(DataConfig(train=value).train)
    except SettingError as error:  # remove `train`, which the user did not write, from the message
        raise SettingError(error.path[1:], error.problem, hint=error.hint, remedy=error.remedy, where=where) from None
