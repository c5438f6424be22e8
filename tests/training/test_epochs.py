"""Intervals of epochs: due where a pass over the data ends, counted from 1, and exact when a run is resumed."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training.runs import MODEL, Said, make_loop, rows, same, weights
from training.test_ahead import prepared

from antiphon.config import TrainingConfig, ValidationConfig
from antiphon.config.interval import Interval, read_interval
from antiphon.recipe import from_mapping, read_recipe, to_mapping
from antiphon.settings import SettingError
from antiphon.training.loop import Loop, Validation
from antiphon.training.progress import LogWindow, Progress
from antiphon.training.reporting.record import Sample

EPOCHS: dict[str, Any] = {"log_every": "1 epoch", "save_every": "1 epoch"}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (50, Interval(50, "steps")),
        (1e3, Interval(1000, "steps")),
        ("50 steps", Interval(50, "steps")),
        ("1 step", Interval(1, "steps")),
        ("1 epoch", Interval(1, "epochs")),
        (" 2epochs ", Interval(2, "epochs")),
    ],
)
def test_an_interval_is_a_number_of_steps_or_a_text(value: Any, wanted: Interval) -> None:
    assert read_interval(value) == wanted == read_interval(str(wanted))


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "0 epochs", "1.5 epochs", "epoch", "every epoch", "1 hour", [1]])
@pytest.mark.parametrize(
    ("cls", "name"), [(TrainingConfig, "log_every"), (TrainingConfig, "save_every"), (ValidationConfig, "every")]
)
def test_anything_else_is_an_error_that_shows_both_forms(value: Any, cls: Any, name: str) -> None:
    with pytest.raises(SettingError, match=rf"`{name}` must be steps or epochs, such as 50, `50 steps` or `1 epoch`"):
        cls(**{name: value})


@pytest.mark.parametrize(
    ("cls", "name", "steps"),
    [
        (TrainingConfig, "log_every", "log_every_steps"),
        (TrainingConfig, "save_every", "save_every_steps"),
        (ValidationConfig, "every", "every_steps"),
    ],
)
def test_both_forms_at_once_are_an_error_that_names_both(cls: Any, name: str, steps: str) -> None:
    with pytest.raises(SettingError, match=rf"`{name}` and `{steps}` must not both be given, but are `1 epoch` and 50"):
        cls(**{name: "1 epoch", steps: 50})
    assert getattr(cls(**{name: "1 epoch"}), steps) is None


def test_defaults_are_steps() -> None:
    training, validation = TrainingConfig(), ValidationConfig()
    assert (training.log_every_steps, training.save_every_steps, validation.every_steps) == (50, 500, 500)
    assert training.logs == (Interval(50, "steps"),) and training.saves == validation.interval == Interval(500, "steps")


def test_a_recipe_a_flag_and_a_run_folder_spell_intervals_alike(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("data: {train: {path: a.tsv}}\ntraining: {max_steps: 9, log_every: 2 epochs}\n")
    config = read_recipe(file, {"validation.every": "1 epoch", "training.save-every": "7"})
    assert str(config.training.logs[0]) == "2 epochs" and config.training.saves == Interval(7, "steps")
    assert config.validation.interval == Interval(1, "epochs")
    again = from_mapping(json.loads(json.dumps(to_mapping(config))))
    assert again.training == config.training and again.validation == config.validation


def test_epochs_are_counted_from_1_in_every_row(tmp_path: Path) -> None:
    """A pass is 4 batches: steps 1 to 4 are epoch 1, the last one of it included."""
    made = make_loop(tmp_path / "run", pass_length=4, max_steps=9, log_every=1, validate=validated, every=1)
    made.run()
    epochs = {row["step"]: row["epoch"] for row in rows(tmp_path / "run")}
    assert epochs == {step: (step - 1) // 4 + 1 for step in range(1, 10)}
    validations = {row["step"]: row["epoch"] for row in rows(tmp_path / "run") if "valid_loss" in row}
    assert validations == epochs


@pytest.mark.parametrize(
    ("length", "accumulate", "passes", "due"),
    [
        (4, 1, 3, [4, 8, 12]),
        (5, 2, 3, [3, 5, 8]),  # the pass ends within a step
        (2, 5, 5, [1, 2]),  # a step holds several ends: due once
        (1, 1, 3, [1, 2, 3]),
    ],
)
def test_an_epoch_is_due_in_the_step_in_which_a_pass_ends(
    tmp_path: Path, length: int, accumulate: int, passes: int, due: list[int]
) -> None:
    seen: list[int] = []
    settings: dict[str, Any] = {
        "accumulate": accumulate,
        "max_steps": None,
        "max_epochs": passes,
        **EPOCHS,
        "keep_last": 99,
    }
    made = make_loop(
        tmp_path / "run", pass_length=length, validate=noting(lambda: made, seen), every="1 epoch", **settings
    )
    made.run()
    assert seen == due
    assert [row["step"] for row in rows(tmp_path / "run") if "loss" in row] == due
    assert sorted(int(path.name[5:]) for path in (tmp_path / "run" / "snapshots").glob("step-*")) == due


def test_every_second_epoch(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "run", pass_length=3, max_steps=15, log_every="2 epochs")
    made.run()
    assert [row["step"] for row in rows(tmp_path / "run")] == [6, 12, 15]  # the last row is that of the run's end


def test_one_row_an_epoch_is_the_mean_over_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sums: dict[int, list[float]] = {}
    add = Progress.add

    def noted(progress: Progress, step: LogWindow, **given: Any) -> None:
        sums.setdefault(progress.epoch, []).extend((step.loss, step.counted))
        add(progress, step, **given)

    monkeypatch.setattr(Progress, "add", noted)
    make_loop(tmp_path / "run", pass_length=6, max_steps=None, max_epochs=3, log_every="1 epoch").run()
    found = rows(tmp_path / "run")
    assert [(row["epoch"], row["step"]) for row in found] == [(1, 6), (2, 12), (3, 18)]
    for row in found:
        figures = sums[row["epoch"]]
        assert len(figures) == 12
        assert row["loss"] == pytest.approx(sum(figures[::2]) / sum(figures[1::2]), rel=1e-12)


def test_a_run_by_epochs_has_a_row_at_the_end_of_each_besides(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "run", pass_length=4, max_steps=None, max_epochs=3, log_every_steps=3)
    made.run()
    assert [(row["step"], row["epoch"]) for row in rows(tmp_path / "run")] == [
        (3, 1), (4, 1), (6, 2), (8, 2), (9, 3), (12, 3),
    ]  # fmt: skip
    by_steps = make_loop(tmp_path / "steps", pass_length=4, max_steps=12, log_every_steps=3)
    by_steps.run()
    assert [row["step"] for row in rows(tmp_path / "steps")] == [3, 6, 9, 12]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_batches_made_ahead_change_nothing(tmp_path: Path, accumulate: int) -> None:
    settings: dict[str, Any] = {
        "max_steps": None,
        "max_epochs": 3,
        "accumulate": accumulate,
        "pass_length": 7,
        **EPOCHS,
    }
    plain = make_loop(tmp_path / "plain", validate=validated, every="1 epoch", **settings)
    ahead = prepared(make_loop(tmp_path / "ahead", validate=validated, every="1 epoch", **settings))
    assert plain.run() == ahead.run()
    assert rows(tmp_path / "plain") == rows(tmp_path / "ahead") and same(plain, ahead)


class Killed(BaseException):
    """Stands for a process that ends at once: nothing after it is done, as files that were closed stay."""


SMALL = replace(MODEL, encoder_layers=1, decoder_layers=1)


def killable_loop(folder: Path, accumulate: int) -> Loop:
    """Passes end at steps 4 and 8, or within steps 2, 4, 5, 7, 9 and 10."""
    return make_loop(
        folder,
        validate=validated,
        every="1 epoch",
        model=SMALL,
        max_steps=11,
        accumulate=accumulate,
        pass_length=4 if accumulate == 1 else 5,
        **EPOCHS,
    )


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Loop, Path]]:
    """The run with `accumulate` that is not killed, and its folder."""

    @functools.cache
    def made(accumulate: int) -> tuple[Loop, Path]:
        folder = tmp_path_factory.mktemp("whole")
        loop = killable_loop(folder, accumulate)
        loop.run()
        return loop, folder

    return made


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("kill", range(3, 10))
@pytest.mark.parametrize("moment", ["step", "measure", "validate", "save"])
def test_killed_and_resumed_is_uninterrupted_byte_by_byte(
    tmp_path: Path, accumulate: int, kill: int, moment: str, whole_run: Callable[[int], tuple[Loop, Path]]
) -> None:
    """Killed within each step before, at and behind the ends of passes."""
    whole, folder = whole_run(accumulate)
    broken = killable_loop(tmp_path, accumulate)
    call = getattr(broken, moment)

    def killed() -> None:
        if broken.progress.step >= kill:
            raise Killed
        call()

    setattr(broken, moment, killed)
    with pytest.raises(Killed):
        broken.run()
    resumed = killable_loop(tmp_path, accumulate)
    resumed.resume()
    resumed.run()
    assert same(whole, resumed) and account(folder) == account(tmp_path)


@pytest.mark.parametrize("step", [3, 4, 5])
def test_stopped_by_a_signal_and_resumed_is_uninterrupted(tmp_path: Path, step: int) -> None:
    """The signal comes in the step: at the end of a pass, the validation that was due is done after the resume."""
    settings: dict[str, Any] = {"max_steps": 11, "pass_length": 4, **EPOCHS}
    whole = make_loop(tmp_path / "whole", validate=validated, every="1 epoch", **settings)
    whole.run()
    stopped = make_loop(tmp_path / "parts", validate=validated, every="1 epoch", **settings)
    advance = stopped.step

    def signalled() -> None:
        advance()
        if stopped.progress.step == step:
            stopped.stop.received = 2

    stopped.step = signalled  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = make_loop(tmp_path / "parts", validate=validated, every="1 epoch", **settings)
    assert resumed.resume()
    resumed.run()
    assert same(whole, resumed) and rows(tmp_path / "whole") == rows(tmp_path / "parts")


def validated(network: Any, stop_requested: Any) -> Validation:
    total = sum(float(weight.detach().sum()) for weight in network.parameters())
    return Validation({"valid_loss": total}, [Sample("a", "b", f"{total:.6f}")], -total)


def noting(loop: Any, seen: list[int]) -> Any:
    def validate(network: Any, stop_requested: Any) -> Validation:
        seen.append(loop().progress.step)
        return validated(network, stop_requested)

    return validate


def account(folder: Path) -> tuple[list[dict[str, Any]], bytes, dict[str, str]]:
    """The log without what the clock decides, the samples, and a hash of each tensor file of the snapshots."""
    files = sorted(folder.glob("snapshots/*/*.safetensors"))
    hashes = {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return rows(folder), (folder / "samples.jsonl").read_bytes(), hashes


def test_the_account_has_teeth(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "run", validate=validated, pass_length=4, max_steps=5, **EPOCHS)
    made.run()
    found, samples, hashes = account(tmp_path / "run")
    assert found and samples and len(hashes) == 4 and weights(made) and isinstance(made.record.display, Said)
