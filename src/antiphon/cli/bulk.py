"""What `generate`, `score` and `evaluate` have in common when they compute many inputs into a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from antiphon.bulk.shards import are_files, files_of, is_many, output_names
from antiphon.bulk.tables import is_table
from antiphon.cli.command import BOTH_TYPES
from antiphon.errors import UsageError
from antiphon.urls import without_query

if TYPE_CHECKING:
    from antiphon.bulk.job import BulkJob, BulkShard
    from antiphon.bulk.journal import BlockRecord
    from antiphon.config import SourceConfig

OnRowFailure = Literal["error", "record"]


class BulkCommand(Protocol):
    """The flags that the three commands share."""

    @property
    def output(self) -> str | None: ...
    @property
    def processes(self) -> int | None: ...
    @property
    def failures(self) -> OnRowFailure | None: ...
    @property
    def block_rows(self) -> int | None: ...
    @property
    def resume(self) -> bool: ...
    @property
    def imports(self) -> tuple[str, ...]: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str | None: ...
    @property
    def threads(self) -> int | None: ...
    @property
    def quiet(self) -> bool: ...
    @property
    def typed(self) -> str: ...
    def say(self, text: str) -> None: ...


def are_many(inputs: Sequence[str], output: str | None) -> bool:
    """Whether inputs are computed into a folder: several, globs, lists, .parquet files; or `output` is a folder."""
    if len(inputs) > 1 or any(is_many(path) or _is_parquet(path) for path in inputs):
        return True
    return output is not None and output != "-" and (output.endswith("/") or Path(output).is_dir())


def check_many(inputs: Sequence[str], output: str | None) -> None:
    """UsageError unless `output` can be the folder of these inputs."""
    if "-" in inputs:
        raise UsageError("many inputs must be files, but one is standard input. Save it to a file first.")
    if output is None or output == "-":
        raise UsageError("many inputs are answered into a folder, but none is given. Give it as `--output`.")
    if Path(output).is_file():
        raise UsageError(f"`--output` must be a folder for many inputs, but `{output}` is a file. Choose another.")


def check_few(command: BulkCommand, *, resume: bool) -> None:
    """UsageError for a flag that only many inputs have, if there is one input. `resume`: --resume is one of them."""
    flags = {"--failures": command.failures, "--block-rows": command.block_rows, "--resume": resume and command.resume}
    given = next((flag for flag, value in flags.items() if value), None)
    if given is not None:
        raise UsageError(f"`{given}` needs many inputs: --processes N and a folder as --output. Give them, or drop it.")


def text_shards(inputs: Sequence[str], *, source_field: int | str | None, details: bool) -> list[BulkShard]:
    """The shards of `generate`: lines of text, or tables, one for each file."""
    from antiphon.data.whole_rows import source_column

    files = files_of(inputs, name="`--input`")
    are_files(files)
    kinds: dict[str, Literal["lines", "table"]] = {}
    for file in files:
        table = _is_any_table(file)
        if source_field is not None and not table:
            raise UsageError(f"`--source-field` needs tables, but one input is `{file}`. Drop the flag or the file.")
        whole = table and (source_field is not None or _is_parquet(file) or source_column(file) is not None)
        kinds[file] = "table" if whole else "lines"
    return _named(kinds, details=details)


def pair_shards(inputs: Sequence[str], *, details: bool) -> list[BulkShard]:
    """The shards of `score`: tables with sources and targets."""
    files = files_of(inputs, name="`--input`")
    are_files(files)
    other = next((file for file in files if not _is_any_table(file)), None)
    if other is not None:
        raise UsageError(
            f"`--input` must be tables (.csv, .tsv, .jsonl, .parquet), but one is `{other}`. For aligned files give "
            "--source and --target."
        )
    return _named(dict.fromkeys(files, "table"), details=details)


def aligned_shards(source: str, targets: Sequence[str], *, suffix: str | None) -> list[BulkShard]:
    """The shards of aligned files: the first of `source` with the first of each of `targets`, and so on."""
    from antiphon.bulk.job import BulkShard

    sides = [files_of([source], name="`--source`"), *(files_of([target], name="`--target`") for target in targets)]
    for side in sides:
        are_files(side)
        if len(side) != len(sides[0]):
            raise UsageError(
                f"`--source` and `--target` must be as many files, but are {len(sides[0])} and {len(side)}. "
                "Check the globs."
            )
    names = output_names(sides[0], suffixes=dict.fromkeys(sides[0], suffix) if suffix else None)
    return [BulkShard(kind="aligned", files=files, output=names[files[0]]) for files in zip(*sides, strict=True)]


def source_shards(data: Sequence[SourceConfig]) -> list[BulkShard]:
    """The shards of the sources of a recipe: one for each file of its globs and lists."""
    from antiphon.bulk.job import BulkShard
    from antiphon.data.shards import shards
    from antiphon.settings import plain

    each = [shard for one in data for shard in shards(one)]
    titles = [one.title.replace(":", "_") for one in each]
    names = output_names(titles, suffixes=dict.fromkeys(titles, ".jsonl"))
    return [
        BulkShard(
            kind="source",
            files=tuple(one.files) or (one.title,),
            output=names[title],
            source={key: value for key, value in plain(one).items() if value is not None},
        )
        for one, title in zip(each, titles, strict=True)
    ]


def run_command(command: BulkCommand, job: Mapping[str, Any]) -> tuple[BulkJob, BlockRecord]:
    """Run the job with these fields of `BulkJob` and the common flags; returns it and its sums."""
    from antiphon.bulk.job import DEFAULT_BLOCK_ROWS, BulkJob
    from antiphon.bulk.run import run_bulk

    if job.get("quantize") is not None and command.dtype is not None:
        raise UsageError(BOTH_TYPES)
    made = BulkJob(
        device=command.device,
        dtype=command.dtype,
        imports=command.imports,
        block_rows=command.block_rows or DEFAULT_BLOCK_ROWS,
        **{"on_failure": command.failures or "error", **job},
    )
    assert command.output is not None
    totals = run_bulk(
        made,
        command.output,
        processes=command.processes or 1,
        threads=command.threads,
        resume=command.resume,
        command=command.typed if command.resume else f"{command.typed} --resume",
        say=command.say,
        quiet=command.quiet,
    )
    return made, totals


def _is_parquet(file: str) -> bool:
    return without_query(file).endswith(".parquet")


def _is_any_table(file: str) -> bool:
    return _is_parquet(file) or is_table(without_query(file))


def _named(kinds: Mapping[str, Literal["lines", "table"]], *, details: bool) -> list[BulkShard]:
    """A shard for each file; with `details` its output is .jsonl, but that of a .parquet file."""
    from antiphon.bulk.job import BulkShard

    json = {file: ".jsonl" for file in kinds if details and not _is_parquet(file)}
    names = output_names([*kinds], suffixes=json)
    return [BulkShard(kind=kind, files=(file,), output=names[file]) for file, kind in kinds.items()]
