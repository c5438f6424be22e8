"""Answers, scores and evaluations as Ray Data jobs: on many machines, with the extra `ray`.

    import antiphon, ray
    dataset = ray.data.read_json("s3://bucket/shards/")
    answered = antiphon.ray.generate(dataset, "runs/demo", source_field="text", concurrency=(1, 8), num_gpus=0.5)
    answered.write_parquet("s3://bucket/answers/")

Each call adds a stage to the dataset, in which actors load the model once and compute batches of rows. Ray Data does
the rest: back-pressure, progress, autoscaling between two numbers of actors, and other actors for those that die, whose
batches are computed again. All columns are kept, and each row of the dataset is a row of the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from antiphon.bulk.answering import Answerer, RowFailure
from antiphon.bulk.evaluating import labels_of
from antiphon.bulk.job import BulkJob
from antiphon.bulk.outputs import with_results
from antiphon.bulk.rows import BulkRow, text_of
from antiphon.bulk.tables import DETAILS
from antiphon.data.lines import DataPlace
from antiphon.data.nested import texts_of
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.measuring import Report, checked_metrics, measure_answers
from antiphon.settings import show

if TYPE_CHECKING:
    import ray.data

Concurrency = int | tuple[int, int]
OnRayFailure = Literal["error", "record"]
ANSWER_FIELD, ERROR_FIELD = "answer", "error"


@dataclass(frozen=True, kw_only=True)
class RayStage:
    """What an actor needs besides the job: how many CPU threads it uses, and the column with the numbers of rows."""

    job: BulkJob
    threads: int
    row_field: str | None = None


def generate(
    dataset: ray.data.Dataset,
    model: str | Path | Sequence[str | Path],
    *,
    source_field: str = "source",
    target_field: str = "answer",
    row_field: str | None = None,
    details: bool = False,
    failures: OnRayFailure = "error",
    batch_size: int = 1024,
    concurrency: Concurrency = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    device: str | None = None,
    dtype: str | None = None,
    quantize: str | None = None,
    rerank: Mapping[str, Any] | None = None,
    imports: Sequence[str] = (),
    **search: Any,
) -> ray.data.Dataset:
    """`dataset` with the answer to the text in `source_field` of each row, as the column `target_field`.

    `model`: a folder that all machines can read, or a name on the hub; several are an ensemble. `source_field` may be a
    template of several columns, `"{title}: {body}"`. `details` adds the columns tokens, score, confidence, finished,
    probabilities and alternatives. `failures`: a row that cannot be answered ends the job with its error, or (record)
    has no answer, and the message in a column `error`, null for all other rows. `batch_size`: rows that are answered
    together. `concurrency`: the number of actors, or its least and its most. `num_cpus` and `num_gpus` are of each
    actor; fractions share a GPU. `rerank`: the arguments of `antiphon.rerank`. `search`: settings of `Model.generate`;
    sampling needs `row_field`, a column with a number of each row, so that a batch that is computed again has the same
    answers.

    The result is lazy, as all of Ray Data is: errors of rows are raised when it is read. ConfigError for an argument,
    or a column that exists already.
    """
    if search.get("temperature") is not None and row_field is None:
        raise ConfigError(
            "`row_field` must be a column with the number of each row when `temperature` is set, but is not given: a "
            "batch that is computed again would have other answers. Add such a column."
        )
    job = BulkJob(
        task="generate",
        models=_models(model),
        shards=(),
        device=_device(device, num_gpus),
        dtype=dtype,
        quantize=quantize,
        imports=tuple(imports),
        search=search,
        rerank=rerank,
        source_field=source_field,
        added_field=target_field,
        details=details,
        on_failure=_on_failure(failures),
    )
    return _stage(dataset, job, row_field, batch_size, concurrency, num_cpus, num_gpus)


def score(
    dataset: ray.data.Dataset,
    model: str | Path | Sequence[str | Path],
    *,
    source_field: str = "source",
    target_field: str = "target",
    score_field: str = "score",
    failures: OnRayFailure = "error",
    batch_size: int = 1024,
    concurrency: Concurrency = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    device: str | None = None,
    dtype: str | None = None,
    imports: Sequence[str] = (),
) -> ray.data.Dataset:
    """`dataset` with the log-probability of the text in `target_field` given that in `source_field`, in nats, as the
    column `score_field`: the scores of `Model.score`. The other arguments are those of `generate`."""
    job = BulkJob(
        task="score",
        models=_models(model),
        shards=(),
        device=_device(device, num_gpus),
        dtype=dtype,
        imports=tuple(imports),
        source_field=source_field,
        target_field=target_field,
        added_field=score_field,
        on_failure=_on_failure(failures),
    )
    return _stage(dataset, job, None, batch_size, concurrency, num_cpus, num_gpus)


def evaluate(
    dataset: ray.data.Dataset,
    model: str | Path | Sequence[str | Path],
    metrics: Sequence[object] | str = ("bleu", "chrf"),
    *,
    source_field: str = "source",
    target_field: str = "target",
    group_field: str | None = None,
    failures: OnRayFailure = "error",
    **options: Any,
) -> Report:
    """Answer the rows of `dataset` and measure the answers against the references in `target_field`, a text or a list
    of texts: the report of `antiphon.evaluate`, on the machine that calls.

    `group_field`: a column with the name of each row's group. `failures` record: a row that cannot be answered counts
    as an empty answer. `options` are those of `generate`. The rows are measured in the dataset's order. Raises
    DataError and ConfigError as `antiphon.evaluate` does, and for a row that cannot be answered.
    """
    _on_failure(failures)
    labels = labels_of(_models(model)[0])
    checked_metrics(metrics, labels)  # before anything is computed
    needed = [name for name in (source_field, target_field, group_field, options.get("row_field")) if name is not None]
    if set(needed) <= set(dataset.columns() or ()):  # not for a template of several columns
        dataset = dataset.select_columns(list(dict.fromkeys(needed)))
    # Recorded in any case: the error of an actor arrives as text, within a traceback of Ray.
    answered = generate(
        dataset, model, source_field=source_field, target_field=ANSWER_FIELD, failures="record", **options
    )
    answered.context.execution_options.preserve_order = True
    answers, pairs, groups = [], [], []
    for number, row in enumerate(answered.iter_rows()):
        if row[ERROR_FIELD] is not None and failures == "error":
            raise DataError(f"row {number} of the dataset cannot be answered: {row[ERROR_FIELD]}")
        answers.append(row[ANSWER_FIELD] or "")
        pairs.append(pair_of(row, number, source_field, target_field))
        groups.append("" if group_field is None else str(row.get(group_field)))
    return measure_answers(answers, pairs, metrics, groups=groups if group_field is not None else None, labels=labels)


class RayAnswerer:
    """What each actor runs: it loads the model, and adds columns to batches, which are Arrow tables."""

    def __init__(self, stage: RayStage) -> None:
        import importlib

        import torch

        from antiphon.generation.load import load

        torch.set_num_threads(stage.threads)
        for name in stage.job.imports:
            importlib.import_module(name)
        job = self.job = stage.job
        self.row_field = stage.row_field
        self.answerer = Answerer(job, load(list(job.models), device=job.device, dtype=job.dtype, quantize=job.quantize))

    def __call__(self, table: Any) -> Any:
        """The batch with its answers or scores."""
        import pyarrow as pa

        rows = [self._row(found, number) for number, found in enumerate(table.to_pylist())]
        results = self._results(table, rows)
        table = with_results(table, self.job, results)
        if self.job.on_failure == "record":
            messages = [result.message if isinstance(result, RowFailure) else None for result in results]
            table = table.append_column(ERROR_FIELD, pa.array(messages, pa.string()))
        return table

    def _row(self, found: dict[str, Any], number: int) -> BulkRow:
        """The row of a record; its fault is recorded, or raised with those of answering."""
        place = DataPlace("", number)
        try:
            source = text_of(found, self.job.source_field or "source", "source_field", place)
            if self.job.task != "score":
                return BulkRow(place, source)
            return BulkRow(place, source, (text_of(found, self.job.target_field or "target", "target_field", place),))
        except DataError as error:
            if self.job.on_failure == "error":
                raise
            return BulkRow(place, fault=error)

    def _results(self, table: Any, rows: list[BulkRow]) -> list[dict[str, Any] | RowFailure]:
        if self.row_field is None:
            return self.answerer(rows, first_row=0)
        numbers = table.column(self.row_field).to_pylist()
        found: list[dict[str, Any] | RowFailure] = []
        for begin, end in consecutive(numbers):
            found += self.answerer(rows[begin:end], first_row=int(numbers[begin]))
        return found


def consecutive(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The places (begin, end) of runs in which each number is one more than the one before."""
    begin = 0
    for place in range(1, len(numbers) + 1):
        if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
            yield begin, place
            begin = place


def _stage(
    dataset: ray.data.Dataset,
    job: BulkJob,
    row_field: str | None,
    batch_size: int,
    concurrency: Concurrency,
    num_cpus: float,
    num_gpus: float,
) -> ray.data.Dataset:
    """The dataset with a stage that runs `job`."""
    from ray.data import ActorPoolStrategy

    added = [job.added_field, *(DETAILS if job.details else ()), *([ERROR_FIELD] if job.on_failure == "record" else [])]
    twice = next((name for name in added if name in (dataset.columns() or ())), None)
    if twice is not None:
        raise ConfigError(f"the dataset must not have the column `{twice}` yet, which is added. Rename it.")
    least, most = concurrency if isinstance(concurrency, tuple) else (concurrency, concurrency)
    if not 1 <= least <= most:
        raise ConfigError(f"`concurrency` must be 1 or more, or (least, most), but is {show(concurrency)}.")
    return dataset.map_batches(
        RayAnswerer,
        fn_constructor_args=(RayStage(job=job, threads=max(1, int(num_cpus)), row_field=row_field),),
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=least, max_size=most),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
    )


def _models(model: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """The paths of a model; absolute, since actors have another working folder. ConfigError for a loaded model."""
    paths = [model] if isinstance(model, str | Path) else model
    if not isinstance(paths, Sequence) or not paths or not all(isinstance(path, str | Path) for path in paths):
        raise ConfigError(f"`model` must be a folder, which each actor loads, but is {show(model)}. Save it first.")
    return tuple(str(Path(path).resolve()) if Path(path).exists() else str(path) for path in paths)


def _device(device: str | None, num_gpus: float) -> str:
    """Ray shows an actor only its own GPUs, so that `cuda` is the right one."""
    return device or ("cuda" if num_gpus else "cpu")


def _on_failure(failures: str) -> OnRayFailure:
    if failures not in ("error", "record"):
        raise ConfigError(f"`failures` must be error or record, but is {show(failures)}.")
    return "error" if failures == "error" else "record"


def pair_of(row: Mapping[str, Any], number: int, source_field: str, target_field: str) -> tuple[str | None, list[str]]:
    """The source of a row, as it was answered (None if it could not be read), and its references."""
    import numpy as np

    # A list of Arrow arrives as an array of NumPy.
    found = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}
    place = DataPlace("", number)
    try:
        source = text_of(found, source_field, "source_field", place)
    except DataError:  # recorded when it was answered
        source = None
    return source, texts_of(found, target_field, "target_field", place)
