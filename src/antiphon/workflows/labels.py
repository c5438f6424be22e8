"""The labels of a classification: those that the recipe names, or those that its training data holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import cast

from antiphon.config import TrainConfig
from antiphon.data import records
from antiphon.errors import ConfigError, DataError
from antiphon.text import CLASSIFICATION, Task

MOST = 1000  # labels; more of them is no classification, but text


def with_labels(task: Task, config: TrainConfig) -> Task:
    """`task` with its labels, from what the data calls a label to its name in answers; others have none.

    Raises ConfigError for labels of another task, DataError for a label without examples, one that `data.labels` lacks,
    or more than MOST of them.
    """
    given = cast("Mapping[str, str]", config.data.labels)
    if task.name != CLASSIFICATION:
        if given:
            raise ConfigError(
                f"`data.labels` must be left out, but is given: the task is `{task.name}`, no classification."
            )
        return task
    found = Counter(target for _, target, _ in records(config.data.train, Task(task.name, task.split, given)))
    unused = [label for label in given.values() if label not in found]
    if unused:
        raise DataError(
            f"each label must have examples to learn from, but `{unused[0]}` has none among {found.total():,} training "
            "rows. Drop it from `data.labels`, or add examples."
        )
    labels = dict(given) or {label: label for label in sorted(found)}
    if not 2 <= len(set(labels.values())) <= MOST:
        raise DataError(
            f"a classification must have 2 to {MOST} labels, but the training data has {len(set(labels.values()))}. "
            "Check `target_field`, or set `task: text`."
        )
    return Task(task.name, task.split, labels)
