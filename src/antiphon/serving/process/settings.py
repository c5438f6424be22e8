"""Settings of the model processes: which models are served, and how much work is accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from antiphon.settings import Count, CountOrZero, Positive, Settings, require, show


@dataclass(frozen=True, kw_only=True)
class ModelEntry(Settings):
    """A model that is served under a name."""

    name: str
    """The name of the model in requests."""
    path: str | tuple[str, ...]
    """What `antiphon.load` reads: a run folder, a model folder, or a name of the hub; several are an ensemble."""
    device: str = "auto"
    """Device of the computation; auto takes a GPU if there is one."""
    dtype: str | None = None
    """Type of the numbers; none: float32."""
    quantize: Literal["int8"] | None = None
    """Quantize the weights to eight bits: faster on a CPU, with nearly the same answers."""
    threads: Count | None = None
    """Number of CPU threads; none: the cores."""
    imports: tuple[str, ...] = ()
    """Modules to import before the model is loaded, for its custom parts."""
    preload: bool = True
    """Load the model when the server starts; otherwise at its first call."""

    def check(self) -> None:
        problem = f"must be a word without white space or slashes, but is {show(self.name)}"
        require(bool(self.name) and not any(c.isspace() or c == "/" for c in self.name), "name", problem)
        require(bool(self.paths), "path", "must be a folder or several, but is an empty list")

    @property
    def paths(self) -> tuple[str, ...]:
        """The folders: one, or the members of an ensemble."""
        return (self.path,) if isinstance(self.path, str) else self.path


@dataclass(frozen=True, kw_only=True)
class ProcessSettings(Settings):
    """Settings of the model processes and of the queue before each of them."""

    models: tuple[ModelEntry, ...]
    """The models; the first one is the default."""
    max_running: Count = 128
    """Inputs that a model process has at the same time; further ones wait. Those that find no place in its batch are
    encoded together in advance, which is faster than one by one."""
    max_queue: CountOrZero = 512
    """Inputs that wait for a model; further calls are refused with a time after which to try again."""
    max_queue_characters: Count = 4_000_000
    """Characters of the inputs that wait for a model; 16 bytes of an image or a recording count as one."""
    max_wait_seconds: Positive = 60.0
    """A call is refused if it would wait longer than this, as estimated from the speed of the last answers."""
    timeout_seconds: Positive = 300.0
    """Longest time for a call, the waiting time included; a call may ask for less."""
    stuck_seconds: Positive = 60.0
    """A process that has work, and gives no sign of life for this long, is replaced."""
    load_timeout_seconds: Positive = 900.0
    """Longest time for loading a model."""
    max_load_failures: Count = 3
    """Failures to load in a row after which the model's state is `failed`; further tries are 30 to 300 s apart."""
    unload_after_seconds: Positive | None = None
    """A model without calls for this long is unloaded, and loaded again at its next call; none: never."""
    cache_entries: CountOrZero = 10_000
    """Answers in the cache of repeated inputs; 0: no cache."""
    cache_bytes: CountOrZero = 64 * 2**20
    """Size of that cache."""
    max_attention_values: Count = 2_000_000
    """Numbers in the attention maps of one pair (layers x heads x queries x keys)."""
    warm_up: bool = True
    """Compute a short answer after loading, so that the first call does not wait for preparations."""

    def check(self) -> None:
        names = [entry.name for entry in self.models]
        require(bool(names), "models", "must have at least one model, but is empty")
        twice = next((name for name in names if names.count(name) > 1), None)
        require(twice is None, "models", f"must have different names, but two are `{twice}`")
