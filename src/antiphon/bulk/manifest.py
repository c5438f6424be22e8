"""The manifest of an output folder: the job that its answers are of, with fingerprints of the model and the inputs.

begin(folder, job, resume=True)      # a new manifest, or the same job as before; else a UsageError of one line
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from antiphon.bulk.job import BulkJob, BulkShard
from antiphon.bulk.shard import STATE_FOLDER
from antiphon.config import SourceConfig
from antiphon.data.fingerprint import fingerprints
from antiphon.durable import make_folder, replace_file
from antiphon.errors import UsageError, argument
from antiphon.models.folders.reading import model_folder
from antiphon.settings import build, show

FORMAT = 1
_NO_PART = (".md", ".html")  # cards and reports beside a model, which its answers do not depend on
_NAMES = {  # settings by their names on the command line, where these differ
    "source_field": "source-field", "target_field": "target-field", "added_field": "target-field", "details": "json",
    "on_failure": "failures", "block_rows": "block-rows", "imports": "import",
}  # fmt: skip


def manifest_path(folder: Path) -> Path:
    """Where the manifest of an output folder is."""
    return folder / STATE_FOLDER / "manifest.json"


def read_job(folder: Path) -> BulkJob:
    """The job of an output folder."""
    return BulkJob.from_json(json.loads(manifest_path(folder).read_text(encoding="utf-8"))["job"])


def begin(folder: Path, job: BulkJob, *, resume: bool) -> None:
    """Write the manifest, or check that it is that of the same job, model and inputs.

    UsageError if the folder holds another job, this one without `resume`, or files with the names of outputs.
    """
    now = json.loads(json.dumps(_manifest(job)))
    path = manifest_path(folder)
    if path.exists():
        if not resume:
            raise UsageError(
                f"`{folder}` holds answers of a job already. Give {argument('resume=True', flag='--resume')} to "
                f"continue it, or another {argument('output', flag='--output')}."
            )
        try:
            was = json.loads(path.read_text(encoding="utf-8"))
            _compare(was, now, folder)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(
                f"`{path}` must be the manifest of a job, but cannot be read. Give another folder."
            ) from error
        return
    there = next((shard.output for shard in job.shards if (folder / shard.output).exists()), None)
    if there is not None:
        raise UsageError(
            f"`{folder / there}` exists already, and is of no job. Delete it, or give another "
            f"{argument('output', flag='--output')}."
        )
    make_folder(path.parent)
    replace_file(path, json.dumps(now, ensure_ascii=False, indent=1).encode())


def _manifest(job: BulkJob) -> dict[str, Any]:
    second = (job.rerank or {}).get("by")
    models = [*job.models, *([second] if isinstance(second, str) and Path(second).is_dir() else [])]
    return {
        "format": FORMAT,
        "models": {model: _prints(_files_of(model_folder(model))) for model in models},
        "inputs": {name: each for shard in job.shards for name, each in _inputs(shard).items()},
        "job": job.as_json(),
    }


def _files_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.iterdir() if path.is_file() and path.suffix not in _NO_PART)


def _inputs(shard: BulkShard) -> dict[str, Any]:
    """The size and the digest of each file of a shard."""
    return _prints(shard.files) if shard.source is None else dict(fingerprints(build(SourceConfig, shard.source)))


def _prints(files: Sequence[str]) -> dict[str, Any]:
    return dict(fingerprints(tuple(SourceConfig(path=file) for file in files)))


def _compare(was: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """UsageError for the first difference between two manifests."""
    other = f"Give another {argument('output', flag='--output')}"
    if was["format"] != now["format"]:
        raise UsageError(f"`{folder}` was begun by another version of antiphon. {other}.")
    old, new = was["job"], now["job"]
    for name in sorted({*old, *new} - {"shards", "search", "models"}):
        _same(_NAMES.get(name) or name, old.get(name), new.get(name), folder)
    for name in sorted({*old["search"], *new["search"]}):
        _same(name, old["search"].get(name), new["search"].get(name), folder)
    for kind, what in (("models", "the model"), ("inputs", "the inputs")):
        _same_files(was[kind], now[kind], what, folder)
    _same("the outputs", [each["output"] for each in old["shards"]], [each["output"] for each in new["shards"]], folder)


def _same(name: str, was: Any, now: Any, folder: Path) -> None:
    if was != now:
        dashed = argument(name.replace("-", "_"), flag=f"--{name.replace('_', '-')}") if " " not in name else name
        raise UsageError(
            f"`{folder}` must be continued with the settings that it was begun with, but {dashed} was {_shown(was)} "
            f"and is {_shown(now)}. Give it as before, or another {argument('output', flag='--output')}."
        )


def _shown(value: Any) -> str:
    if value in (None, {}, []):
        return "not given"
    return value if isinstance(value, str) else show(value)


def _same_files(was: Mapping[str, Any], now: Mapping[str, Any], what: str, folder: Path) -> None:
    flat_was, flat_now = _flat(was), _flat(now)
    for file in {**flat_was, **flat_now}:
        before, after = flat_was.get(file), flat_now.get(file)
        if before == after:
            continue
        if before is None or after is None:
            problem = f"`{file}` is {'new' if before is None else 'no longer among them'}"
        elif before[0] != after[0]:
            problem = f"`{file}` had {before[0]:,} bytes and has {after[0]:,}"
        else:
            problem = f"`{file}` has other content of the same length"
        raise UsageError(
            f"`{folder}` must be continued with {what} that it was begun with, but {problem}. Put it back, or give "
            f"another {argument('output', flag='--output')}."
        )


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    """The fingerprint of each file; those of a model are grouped by its path."""
    flat: dict[str, Any] = {}
    for name, value in found.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat
