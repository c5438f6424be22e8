"""A bulk job: what is computed by which model with which settings, and its shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from antiphon.urls import RemoteName, known_name

BulkTask = Literal["generate", "score", "evaluate"]
OnFailure = Literal["error", "skip", "record"]
DEFAULT_BLOCK_ROWS, MOST_BLOCK_BYTES = 4096, 1 << 20  # enough to sort by length, little enough for any memory


@dataclass(frozen=True, kw_only=True)
class BulkShard:
    """The unit of work: input files that are read together, and the name of the output below the output folder.

    `kind`: lines of text, a table (.csv, .tsv, .jsonl, .parquet), aligned files (of sources, then of targets), or a
    source of a recipe, whose settings are `source`.
    """

    kind: Literal["lines", "table", "aligned", "source"]
    files: tuple[str, ...]
    output: str
    source: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(map(known_name, self.files)))

    @property
    def title(self) -> str:
        """The name of the shard in messages: its first file."""
        return self.files[0]


@dataclass(frozen=True, kw_only=True)
class BulkJob:
    """What a bulk job computes. All fields but `shards` are its settings, which must not change when it is continued.

    `models`: paths of one model, or of an ensemble. `search`: settings of `Model.generate`. `source_field` and
    `target_field`: columns of tables; `added_field`: the column that is added. `details`: all keys of an answer, not
    its text alone. `on_failure`: what happens to a row that cannot be read or answered: it ends the job, or it is left
    out if it cannot be read (skip), or it is recorded and has an empty answer (record). `rerank`: the arguments of
    `Reranker`. `block_rows`: the most rows that are answered together, and lost if a process is killed.
    """

    task: BulkTask
    models: tuple[str, ...]
    shards: tuple[BulkShard, ...]
    device: str = "auto"
    dtype: str | None = None
    quantize: str | None = None
    imports: tuple[str, ...] = ()
    search: Mapping[str, Any] = field(default_factory=dict)
    rerank: Mapping[str, Any] | None = None
    source_field: int | str | None = None
    target_field: int | str | None = None
    added_field: str = "answer"
    details: bool = False
    on_failure: OnFailure = "error"
    block_rows: int = DEFAULT_BLOCK_ROWS

    def as_json(self, *, secrets: bool = False) -> dict[str, Any]:
        """The job as a JSON object. URLs are as they are shown, or with `secrets` with the credentials in them, too."""
        found = asdict(self)
        return _with_secrets(found) if secrets else found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> BulkJob:
        """The inverse of `as_json`."""
        shards = tuple(BulkShard(**{**each, "files": tuple(each["files"])}) for each in found["shards"])
        lists = {name: tuple(found[name]) for name in ("models", "imports")}
        return cls(**{**found, **lists, "shards": shards})


def _with_secrets(value: Any) -> Any:
    """A JSON value with the whole URL of each file."""
    if isinstance(value, RemoteName):
        return value.url
    if isinstance(value, Mapping):
        return {key: _with_secrets(each) for key, each in value.items()}
    return [_with_secrets(each) for each in value] if isinstance(value, list | tuple) else value
