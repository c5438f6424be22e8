"""The test of an exact resume has teeth: each item of a snapshot is dropped in turn, and the run differs every time.

The items are read from the snapshots, so that a new one is in the test. An item is dropped by putting the value of a
new run in its place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from disk_log import memory_folder
from safetensors.torch import load, save
from torture.figures import FigureRecorder
from training.runs import make_loop, rows

from antiphon.config import ModelConfig
from antiphon.errors import AntiphonError
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.training.loop import Loop, Validation
from antiphon.training.reporting.record import SAMPLES, Sample
from antiphon.training.resume import STATE, save_snapshot
from antiphon.training.snapshot import SnapshotStore

SCORES = [1.0, 5.0, 3.0, 5.0, 2.0, 1.0, 1.0]  # of the validations; the fourth has the lower loss, so that it is better
LOSSES = [4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0]


MODEL = ModelConfig(
    preset="tiny", encoder_layers=1, decoder_layers=1, d_model=8, ffn_dim=8, num_heads=2, dropout=0.1, max_length=16
)


class Killed(BaseException):
    """Ends a run where a kill would."""


@dataclass
class Scenario:
    """A run, and the step at which it is killed; None: it ends by itself, and is continued then.

    `stop` is a step at which it saves as after SIGTERM: no other snapshot is written while steps are skipped.
    """

    kill: int | None
    settings: dict[str, Any] = field(default_factory=dict)
    stop: int | None = None
    nan: tuple[int, ...] = ()  # the steps whose loss is not finite
    teacher: bool = False


SCENARIOS = {
    "between": Scenario(8, {"mixout": 0.2, "ema": 0.5}),
    "at a validation": Scenario(12),
    "at the end": Scenario(None, {"max_steps": None, "max_epochs": 4}),
    "at an end within a pass": Scenario(None, {"max_steps": 8}),
    "averaging": Scenario(8, {"optimizer": "schedule_free", "schedule": "constant"}),
    "not finite": Scenario(8, stop=8, nan=(7, 8, 9, 10, 11)),
    "a teacher": Scenario(8, {"distillation": {"teacher": "teacher"}}, teacher=True),
}


def make(folder: Path, scenario: Scenario, saves: list[str]) -> Loop:
    """A run of passes of three steps, with a validation after each and a snapshot after every fourth step."""

    def validate(network: EncoderDecoder, asked: Any) -> Validation:
        number = made.progress.passes - 1
        norm = float(sum(parameter.detach().abs().sum() for parameter in network.parameters()))
        return Validation({"valid_loss": LOSSES[number], "norm": norm}, [Sample("a", "b", "c")], SCORES[number])

    settings: dict[str, Any] = {"max_steps": 13, "save_every": "4 steps", "log_every_steps": 5}
    settings |= {"average_best": 2, "patience": 3, "keep_last": 2, **scenario.settings}
    made = make_loop(
        folder,
        validate=validate,
        save_best=lambda network: saves.append(f"best {made.progress.step}"),
        every="1 epoch",
        pass_length=3,
        model=MODEL,
        teacher=make_loop(folder.with_name("teacher"), model=MODEL).network if scenario.teacher else None,
        **settings,
    )
    forward = made.forward

    def maybe_poisoned(batch: Any, criterion: Any) -> Any:
        found = forward(batch, criterion)
        factor = float("nan") if made.progress.step + 1 in scenario.nan else 1.0
        return type(found)(found.objective * factor, found.nll, found.labels)

    made.forward = maybe_poisoned
    return made


def run(loop: Loop, saves: list[str], *, kill: int | None = None, stop: int | None = None) -> None:
    """Run to the end, or to the moment after the snapshot of step `kill`. Notes the steps of the snapshots."""
    store, step = loop.parts.store, loop.step
    start = store.start

    def noted(number: int, *arguments: Any, **settings: Any) -> None:
        saves.append(f"snapshot {number}")
        start(number, *arguments, **settings)

    def killed() -> None:
        if loop.progress.step == stop:
            loop.save()
        if loop.progress.step == kill:
            store.wait()
            raise Killed
        step()

    store.start, loop.step = noted, killed  # type: ignore[method-assign]
    try:
        loop.run()
    except AntiphonError as error:
        saves.append(str(error))
    except Killed:
        pass


def account(loop: Loop, saves: list[str]) -> dict[str, Any]:
    """Everything that two equal runs have in common."""
    folder, store = loop.record.folder, loop.parts.store
    last = store.newest()
    assert last is not None
    state = json.loads(last.read(STATE))
    state.pop("record")  # sizes, which depend on the digits of the times
    del state["progress"]["seconds"], state["progress"]["window"]["seconds"]
    clock = [
        row.get("time_seconds", 0.0) for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    ]
    return {
        "files": {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in last.folder.glob("*.safetensors")
        },
        "state": state,
        "step": loop.progress.step,
        "rows": [{**row, "norm": norm} for row, norm in zip(rows(folder), norms(folder), strict=True)],
        "samples": (folder / SAMPLES).read_text(),
        "saves": saves,
        "best": loop.best.steps(),
        "time": clock == sorted(clock) and loop.progress.seconds > max(clock) - 0.001,
        "lines": [line for line in loop.record.display.lines if "not bit by bit" in line],  # type: ignore[attr-defined]
    }


def norms(folder: Path) -> list[float | None]:
    return [json.loads(line).get("norm") for line in (folder / "metrics.jsonl").read_text().splitlines()]


def leaves(state: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The items of a state; a list is one."""
    for key, value in state.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def value_at(state: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        state = state.get(key) if isinstance(state, dict) else None
    return state


def tensor_items(files: dict[str, bytes]) -> Iterator[tuple[str, str]]:
    """Each file of tensors; that of the optimizer by key, such as exp_avg."""
    for name in sorted(files):
        if name == "optimizer.safetensors":
            yield from ((name, key) for key in sorted({key.rpartition(".")[2] for key in load(files[name])}))
        elif name.endswith(".safetensors"):
            yield name, ""


def without_tensors(files: dict[str, bytes], item: tuple[str, str], loop: Loop) -> dict[str, bytes]:
    """The files with the tensors of a new run in place of an item."""
    name, key = item
    tensors = load(files[name])
    if key:
        tensors = {each: torch.zeros_like(one) if each.endswith(f".{key}") else one for each, one in tensors.items()}
    else:
        tensors = {each: one.detach() for each, one in loop.network.state_dict().items() if each in tensors}
    return {**files, name: save({each: one.contiguous() for each, one in tensors.items()})}


def without_item(files: dict[str, bytes], path: tuple[str, ...], fresh: dict[str, Any]) -> dict[str, bytes]:
    """The files with the value of a new run in place of an item of the state."""
    state = json.loads(files[STATE])
    value_at(state, path[:-1])[path[-1]] = value_at(fresh, path)
    return {**files, STATE: json.dumps(state).encode()}


class Case:
    """The runs of one scenario: the undisturbed one, and the one that was killed, whose snapshot is changed."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.folder, self.scenario = folder, scenario
        self.saves: list[str] = []
        whole = make(folder / "whole", scenario, self.saves)
        fresh = make(folder / "fresh", scenario, [])
        save_snapshot(fresh.parts.store, fresh.now)
        fresh.parts.store.wait()
        self.fresh = json.loads((fresh.parts.store.folder / "step-0" / STATE).read_bytes())
        self.fresh |= {"start": None, "teacher": None, "machine": dict.fromkeys(self.fresh["machine"]), "world": None}
        run(whole, self.saves, stop=scenario.stop)
        self.wanted = account(whole, self.saves)
        self.first: list[str] = []
        killed = make(folder / "killed", scenario, self.first)
        run(killed, self.first, kill=scenario.kill, stop=scenario.stop)
        store = killed.parts.store
        self.step = store.steps()[-1]
        self.files = {path.name: path.read_bytes() for path in (store.folder / f"step-{self.step}").iterdir()}
        self.files.pop("manifest.json")
        self.others = {
            path.relative_to(folder / "killed"): path.read_bytes()
            for path in (folder / "killed").rglob("*")
            if path.is_file() and "snapshots" not in path.parts
        }

    def differences(self, files: dict[str, bytes], name: str) -> list[str]:
        """In what the run that continues from a snapshot of `files` differs from the undisturbed one."""
        folder = self.folder / name
        for path, content in self.others.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        SnapshotStore(folder / "snapshots", keep=None).save(self.step, files)
        saves = [*self.first]
        resumed = make(folder, self.scenario, saves)
        try:
            resumed.resume()
            run(resumed, saves, stop=self.scenario.stop)
            found = account(resumed, saves)
            return [
                f"{key}: {found[key]} instead of {self.wanted[key]}" for key in found if found[key] != self.wanted[key]
            ]
        except (AntiphonError, KeyError, TypeError, ValueError) as error:
            return [repr(error)]


@pytest.fixture(scope="module", name="cases")
def _cases() -> Iterator[dict[str, Case]]:
    with memory_folder() as folder:
        yield {name: Case(folder / name, scenario) for name, scenario in SCENARIOS.items()}


def test_nothing_is_dropped_and_nothing_differs(cases: dict[str, Case]) -> None:
    for name, case in cases.items():
        assert case.differences(case.files, "as it is") == [], name


def drops(case: Case, seen: set[Any]) -> Iterator[tuple[Any, Callable[[], dict[str, bytes]]]]:
    """The items of a snapshot that are not as in a new run, and the files without them."""
    fresh = make(case.folder / "another", case.scenario, [])
    for item in tensor_items(case.files):
        if item not in seen:
            yield item, lambda item=item: without_tensors(case.files, item, fresh)
    state = json.loads(case.files[STATE])
    for path in leaves(state):
        if path not in seen and value_at(state, path) != value_at(case.fresh, path):
            yield path, lambda path=path: without_item(case.files, path, case.fresh)


def test_each_dropped_item_makes_a_difference(cases: dict[str, Case], figures: FigureRecorder) -> None:
    found: set[Any] = set()
    missed: set[Any] = set()
    for case in cases.values():
        for number, (item, files) in enumerate(drops(case, found)):
            (found if case.differences(files(), f"without {number}") else missed).add(item)
    assert sorted(map(str, missed - found)) == []
    figures.add("items dropped, each with another end", len(found))
    named = {part for item in found for part in item}
    assert named >= {
        "weights.safetensors", "evaluated.safetensors", "exp_avg", "exp_avg_sq", "step", "number", "start", "teacher",
        "threads", "metrics.jsonl", "samples.jsonl", "best", "best_tie", "bests", "ties", "worse", "non_finite",
        "tokens", "epoch", "passes", "passes_before", "validated", "saved", "seconds", "lr", "loss", "nll", "counted",
        "positions", "grad_norm", "groups", "world",
    }, sorted(map(str, found))  # fmt: skip
