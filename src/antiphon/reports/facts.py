"""The facts of a run as names and texts: for the page, the model card and the server's page of a model."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from antiphon.display import clock, fixed
from antiphon.reports.contents import RunContents

Fact = tuple[str, str]
UNKNOWN = "unknown"
TRAINING_SETTINGS = (
    "optimizer", "lr", "schedule", "warmup_steps", "max_steps", "max_epochs", "max_minutes", "batch_tokens",
    "accumulate", "clip_norm", "weight_decay", "label_smoothing", "r_drop", "ema", "precision", "seed",
)  # fmt: skip
_SHAPE = (
    "base", "d_model", "encoder_layers", "decoder_layers", "num_heads", "ffn_dim", "activation", "norm", "positions",
    "dropout", "max_length",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DataFile:
    """A source of the data: its side (train, valid, test), name, size and fingerprint where known, and licence."""

    side: str
    name: str
    size: int | None
    fingerprint: str
    license: str

    @property
    def bytes(self) -> str:
        """The size in words; pairs from Python have none."""
        if self.size is not None:
            return f"{self.size:,}"
        return "" if self.name.endswith("from Python") else UNKNOWN


def data_files(run: RunContents) -> list[DataFile]:
    """Each file, data set of the hub, or list of pairs from Python that the recipe names."""
    return [file for side in ("train", "valid", "test") for file in _files_of(run, side)]


def _files_of(run: RunContents, side: str) -> Iterator[DataFile]:
    data = run.section("data")
    general, given = data.get("license"), data.get(side)
    known = _mapping(run.recorded, "data", side, "files")
    for source in given if isinstance(given, list) else [] if given is None else [given]:
        if isinstance(source, str):  # pairs from Python: "<python: 400 pairs, sha256 8832ba766ae2285c>"
            count, _, digest = source.strip("<>").removeprefix("python: ").partition(", ")
            yield DataFile(side, f"{count} from Python", None, digest, str(general or UNKNOWN))
        elif isinstance(source, Mapping):
            license = str(source.get("license") or general or UNKNOWN)
            files = [str(source[key]) for key in ("path", "source", "target", "text") if source.get(key)]
            for file in files:
                size, digest = _fingerprint(known.get(file))
                yield DataFile(side, file, size, digest, license)


def _fingerprint(found: object) -> tuple[int | None, str]:
    if isinstance(found, list | tuple) and len(found) == 2:
        return found[0], f"blake2b {found[1]}" if found[1] else ""
    return None, ""


def data_facts(run: RunContents) -> list[Fact]:
    """How many pairs there are, how long they are, and what was left out."""
    train, valid = _mapping(run.recorded, "data", "train"), _mapping(run.recorded, "data", "valid")
    facts: list[Fact] = []
    if train:
        facts.append(("training pairs", str(train.get("read", UNKNOWN))))
        if train.get("tokens"):
            facts.append(("training tokens", f"{train['tokens']:,}, source and target together"))
        counted = train.get("profiled_pairs") or 0
        part = "" if counted == train.get("pairs") else f" (of the first {counted:,} pairs)"
        for side in ("source", "target"):
            lengths = _mapping(train, f"{side}_tokens")
            if lengths:
                figures = ", ".join(f"{name} {fixed(value, 1)}" for name, value in lengths.items())
                facts.append((f"tokens of a {side}{part}", figures))
    if valid:
        facts.append(("validation pairs", f"{valid.get('pairs', 0):,}"))
    filters = run.section("data").get("filters")
    return [*facts, ("filters", _short(filters))] if filters else facts


def model_facts(run: RunContents) -> list[Fact]:
    """The network: its size, attention, vocabulary and shape."""
    network, shape = _mapping(run.recorded, "network"), run.section("model")
    facts: list[Fact] = []
    if network:
        trained = network.get("trainable", network.get("parameters"))
        part = "" if trained == network.get("parameters") else f", of which {trained:,} are trained"
        facts.append(("parameters", f"{network.get('parameters', 0):,}{part}"))
        sizes = [f"{size:,}" for size in dict.fromkeys(network.get("vocabulary") or [])]
        facts.append(("vocabulary", " and ".join(sizes)))
        attention = _mapping(network, "attention")
        facts += [(f"{role} attention", str(kind)) for role, kind in attention.items()]
    else:
        facts += [(f"{role} attention", _short(kind)) for role, kind in run.section("attention").items() if kind]
    return [*facts, *_settings(shape, _SHAPE)]


def training_facts(run: RunContents) -> list[Fact]:
    """The settings of training that matter most."""
    return _settings(run.section("training"), TRAINING_SETTINGS)


def cost_facts(run: RunContents) -> list[Fact]:
    """Steps, time, tokens, memory and energy."""
    rows = run.rows
    if not rows:
        return []
    last = rows.last("step") or 0
    facts = [("steps", f"{last:,}"), ("passes over the data", fixed(rows.last("epoch")))]
    facts.append(("time of training", clock(rows.last("time_seconds") or 0)))
    if whole := sum(float(start.get("seconds") or 0) for start in run.starts):
        facts.append(("time in all, with validation", clock(whole)))
    if tokens := trained_tokens(run):
        facts.append(("tokens trained on", f"{tokens:,}, source and target together"))
    if rows.last("tokens_per_second"):
        facts.append(("tokens a second", f"{rows.last('tokens_per_second'):,.0f}"))
    if rows.last("peak_memory_bytes"):
        facts.append(("peak memory", f"{rows.last('peak_memory_bytes') / 2**20:,.0f} MiB"))
    return [*facts, ("energy", energy_of(run))]


def trained_tokens(run: RunContents) -> int:
    """The real tokens, source and target, of all steps; of a log without this count, the sum of speed by time."""
    if isinstance(counted := run.rows.last("tokens"), int):
        return counted
    total, before = 0.0, 0.0
    for row in run.rows:  # each row has the speed since the row before
        now, speed = row.get("time_seconds"), row.get("tokens_per_second")
        if isinstance(now, int | float) and isinstance(speed, int | float):
            total, before = total + speed * (now - before), now
    return round(total)


def energy_of(run: RunContents) -> str:
    """The energy of the run by part, or that it is unknown, and why."""
    used: dict[str, float] = {}
    reasons = dict.fromkeys(str(start["energy_unknown"]) for start in run.starts if start.get("energy_unknown"))
    for start in run.starts:
        for part, joules in _mapping(start, "energy_joules").items():
            used[part] = used.get(part, 0.0) + float(joules)
    parts = [f"{part} {joules / 3.6e6:.4f} kWh ({joules:,.0f} J)" for part, joules in used.items()]
    if not parts:
        return f"unknown: {'; '.join(reasons) or 'it was not recorded'}"
    return ", ".join([*parts, *(f"the rest is unknown: {reason}" for reason in reasons)])


def reproduce_command(run: RunContents) -> str:
    """The command that makes the same run in another folder."""
    # In the words of the recipe that the run saved: a flag of the first command is in it already.
    return shlex.join(["antiphon", "train", str(run.folder / "config.yaml"), "--output", "runs/again"])


def has_python_pairs(run: RunContents) -> bool:
    """Whether pairs came from Python, so that the saved recipe alone does not have the data."""
    return any(isinstance(run.section("data").get(side), str) for side in ("train", "valid"))


def start_facts(start: Mapping[str, Any]) -> list[Fact]:
    """One start of a run: the command, and where and with what it was computed."""
    command = start.get("command")
    typed = shlex.join(map(str, command)) if isinstance(command, list) else "antiphon.train(...) in Python"
    facts = [("command", typed), ("began", str(start.get("began", UNKNOWN)))]
    facts += [(name, str(version)) for name, version in _mapping(start, "versions").items()]
    facts.append(("commit of antiphon", str(start.get("commit") or "none: an installed release")))
    names = ("processor", "threads", "device", "gpu")
    return [*facts, *((name, str(start[name])) for name in names if start.get(name) is not None)]


def public_path(name: str) -> str:
    """The name of a data file for everybody: of a path only the last part; names of the hub in full."""
    return name if name.startswith("hub:") else PurePath(name).name or name


def _settings(section: Mapping[str, Any], names: tuple[str, ...]) -> list[Fact]:
    """The settings of a section that are given; those that are off (0) are left out, but for the seed."""
    given = [(name, section.get(name)) for name in names]
    return [(name, _short(value)) for name, value in given if value is not None and (value or name == "seed")]


def _short(value: object) -> str:
    """A value of a recipe in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_short(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_short, value)) + "]"
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _mapping(found: Any, *names: str) -> Mapping[str, Any]:
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
