"""The cases of a bulk evaluation, read back from its outputs, and the report on them.

report = measured_cases(job, folder, metrics, by="file", seconds=totals.seconds)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from antiphon.bulk.job import BulkJob, BulkShard
from antiphon.bulk.shard import ShardPaths
from antiphon.config import SourceConfig
from antiphon.errors import DataError
from antiphon.evaluation.measuring import Report, measure_answers
from antiphon.evaluation.metrics import Metric
from antiphon.evaluation.test_set import TestExample, names_of_files, tags_of
from antiphon.models.folders.reading import model_folder
from antiphon.settings import build


def measured_cases(
    job: BulkJob, folder: Path, metrics: Sequence[Metric], *, by: str | None = None, seconds: float | None = None
) -> Report:
    """The report on all answers of a complete evaluation; an answer that failed counts as an empty one.

    `by`: also the scores of each tag or file. `seconds`: of generation. Raises DataError if there is no case.
    """
    cases = [case for shard in job.shards for case in _cases(folder, shard)]
    if not cases:
        raise DataError("an evaluation needs at least one pair, but there is none. Check the inputs.")
    examples = [example for example, _ in cases]
    groups = {"tag": tags_of, "file": names_of_files}[by](examples) if by else None
    pairs = [(example.source, example.references) for example in examples]
    answers = [answer for _, answer in cases]
    report = measure_answers(answers, pairs, metrics, groups=groups, labels=labels_of(job.models[0]))
    return replace(report, seconds=seconds)


def labels_of(model: str) -> list[str]:
    """The answers of a classification, from the model's folder, without its weights; empty for every other task."""
    path = model_folder(model) / "task.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return list(dict.fromkeys(content.get("labels", {}).values()))


def _cases(folder: Path, shard: BulkShard) -> Iterator[tuple[TestExample, str]]:
    file = shard.title if shard.source is None else build(SourceConfig, shard.source).title
    with ShardPaths.of(folder, shard).output.open(encoding="utf-8") as lines:
        for line in lines:
            found = json.loads(line)
            example = TestExample(found["source"], found["references"], file, found["place"])
            yield example, found["answer"] or ""
