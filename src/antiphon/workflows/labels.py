"""The labels of a classification: from the recipe, or from its training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

from antiphon.config import TrainConfig
from antiphon.data import DataReport, Mixture, filters_of, records
from antiphon.errors import ConfigError, DataError
from antiphon.generation.classification.classify import refuse_search
from antiphon.settings import inside
from antiphon.text import CLASSIFICATION, Task, Tokenizer

MAX_LABELS = 1000  # with more labels the task is more likely text generation


def with_labels(task: Task, config: TrainConfig) -> Task:
    """`task` with its labels, a mapping from label in the data to name in answers; unchanged for other tasks.

    Raises ConfigError for labels of another task, DataError for a label without examples, a label that is not in
    `data.labels`, or more than MAX_LABELS of them.
    """
    given = cast("Mapping[str, str]", config.data.labels)
    if task.name != CLASSIFICATION:
        if given:
            raise ConfigError(
                f"`data.labels` must be left out, but is given: the task is `{task.name}`, no classification."
            )
        return task
    with inside("generation"):
        refuse_search(config.generation)
    found: Counter[str] = Counter()
    for _, target, place in records(config.data.train, replace(task, labels=given), bad_rows=config.data.bad_rows):
        if target is None or not target.strip():
            raise DataError(f"a row must have a label, but has none ({place}). Fill it in, or drop the row.")
        found[target] += 1
    unused = [label for label in given.values() if label not in found]
    if unused:
        raise DataError(
            f"each label must have examples to learn from, but `{unused[0]}` has none among {found.total():,} training "
            "rows. Drop it from `data.labels`, or add examples."
        )
    labels = dict(given) or {label: label for label in sorted(found)}
    count = len(set(labels.values()))
    if not 2 <= count <= MAX_LABELS:
        whose = f"`data.labels` names {count}" if given else f"the training data has {count}"
        raise DataError(
            f"a classification must have 2 to {MAX_LABELS} labels, but {whose}. Check "
            f"{'it' if given else '`target_field`'}, or set `task: text`."
        )
    named = replace(task, labels=labels)
    _refuse_unlearned(named, config)
    return named


def _refuse_unlearned(task: Task, config: TrainConfig) -> None:
    """Raise DataError for a label without examples after filtering and removal of empty texts."""
    filters = filters_of(config)
    report = DataReport()
    items = Mixture(config.data.train, task, filters, bad_rows=config.data.bad_rows).once(report)
    left = {item.target for item in items if not item.plain}
    if not left:
        raise report.nothing_left()
    for label in task.labels.values():
        if label not in left:
            remedy = "Loosen `data.filters`." if report.dropped else "Give it examples with a text."
            raise DataError(
                f"each label must have examples to learn from, but `{label:.60}` has none left: {report}. {remedy}"
            )


def check_labels(labels: Iterable[str], tokenizer: Tokenizer, longest: int) -> None:
    """Raise DataError for a label of more than `longest` tokens, which cannot be generated, and for two labels with
    equal tokens, which cannot be distinguished."""
    seen: dict[tuple[int, ...], str] = {}
    for label in dict.fromkeys(labels):
        ids = tuple(tokenizer.encode(label))
        if len(ids) > longest:
            raise DataError(
                f"a label must have at most `model.max_length` tokens ({longest}), but `{label:.60}` has {len(ids)}. "
                "Give it a shorter name in `data.labels`."
            )
        if ids in seen:
            raise DataError(
                f"labels must differ in their tokens, but `{seen[ids]:.60}` and `{label:.60}` are the same to the "
                "target's tokenizer. Name one otherwise in `data.labels`, or change `tokenizer.lowercase`."
            )
        seen[ids] = label
