"""The loop: resumed = uninterrupted, accumulated = one batch, a step not finite changes nothing, signals save first."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training.runs import MODEL, Reversals, Said, make_loop, rows, same, weights

from antiphon.batch import Example
from antiphon.config import ModelConfig
from antiphon.errors import ConfigError, NonFiniteError
from antiphon.training import step as module
from antiphon.training.loop import Loop, Validation
from antiphon.training.reporting.record import Sample


def validator(loop_box: list[Loop]) -> Any:
    def validate(network: Any, asked: Any) -> Validation:
        norm = float(sum(parameter.detach().abs().sum() for parameter in network.parameters()))
        return Validation({"valid_loss": norm}, [Sample("a", "b", "c")], -norm)

    return validate


@pytest.fixture(scope="module")
def validated_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Loop, Path]:
    """A run of 30 steps that validates, and its folder."""
    folder = tmp_path_factory.mktemp("validated")
    whole = make_loop(folder, validate=validator([]), accumulate=2)
    whole.run()
    return whole, folder


@pytest.mark.parametrize("cuts", [[7], [10], [3, 23], [5, 6, 7]])
def test_resumed_is_uninterrupted(tmp_path: Path, cuts: list[int], validated_run: tuple[Loop, Path]) -> None:
    whole, folder = validated_run
    for end in [*cuts, 30]:
        part = make_loop(tmp_path / "parts", validate=validator([]), accumulate=2, max_steps=end)
        part.resume()
        part.run()
    assert same(whole, part)
    # The end of a part validates, which the whole run does not do there.
    mine = [row for row in rows(tmp_path / "parts") if "valid_loss" not in row or row["step"] % 10 == 0]
    assert mine == rows(folder)


@pytest.mark.parametrize(
    "settings",
    [{}, {"r_drop": 3.0}, {"optimizer": "muon", "ema": 0.5}, {"optimizer": "schedule_free", "r_drop": 1.0, "ema": 0.5}],
)
def test_accumulated_micro_batches_are_one_batch(tmp_path: Path, settings: dict[str, Any]) -> None:
    """In float64, without dropout, with micro-batches of other sizes: a token weighs the same."""
    results = []
    for accumulate in (1, 3):
        made = make_loop(tmp_path / str(accumulate), accumulate=accumulate, max_steps=1, **settings)
        made.network.double()
        for part in made.network.modules():
            if type(part).__name__ in ("Dropout", "LayerDrop"):
                part.p = 0.0
        stream = made.parts.batches
        parts = [next(stream), next(stream)[:1], next(stream)[:4]]
        queue = [[example for part in parts for example in part]] if accumulate == 1 else parts
        made.parts.batches.__class__ = type(
            "Fixed", (type(stream),), {"__next__": lambda self, queue=queue: queue.pop(0)}
        )
        made.step()
        with made.evaluated.applied():
            results.append([parameter.detach().clone() for parameter in made.network.parameters()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_layer_drop_leaves_out_layers_in_training_alone(tmp_path: Path) -> None:
    """A row of metrics is exact under resume, and what is evaluated has every layer."""
    model = ModelConfig(preset="tiny", d_model=16, ffn_dim=24, num_heads=2, dropout=0.0, layer_drop=0.5)
    made = make_loop(tmp_path / "whole", model=model, max_steps=12)
    used: dict[nn.Module, int] = {}

    def count(module: nn.Module, *_: Any) -> None:
        used[module] = used.get(module, 0) + 1

    for part in made.network.modules():
        if type(part).__name__ == "FeedForward":
            part.register_forward_hook(count)
    made.run()
    assert len(used) == 4 and all(0 < times < 12 for times in used.values())
    made.network.eval()
    before = dict(used)
    made.network(made.collate(next(made.parts.batches)), made.objective.criterion)
    assert all(used[key] == times + 1 for key, times in before.items())
    for end in (5, 12):
        resumed = make_loop(tmp_path / "parts", model=model, max_steps=end)
        resumed.resume()
        resumed.run()
    assert same(made, resumed)


def test_a_loss_that_is_not_finite_changes_nothing_and_ends_the_run(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "run", max_steps=30)
    for _ in range(10):
        made.step()
    made.save()
    before = [part.clone() for part in weights(made)]

    def poisoned(batch: Any, criterion: Any) -> Any:
        found = made.network(batch, criterion)
        return type(found)(found.objective * float("nan"), found.nll, found.labels)

    made.forward = poisoned
    with pytest.raises(NonFiniteError, match=r"step 15 must be finite \(examples 0, 1, 2.*5 steps in a row") as caught:
        for _ in range(module.NON_FINITE_LIMIT):
            made.step()
    assert "\n" not in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(made), strict=True))
    display = made.record.display
    assert isinstance(display, Said) and len(display.lines) == module.NON_FINITE_LIMIT - 1
    made.parts.store.wait()
    assert made.parts.store.steps() == [10]


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Loop, Path]:
    """A run of 30 steps, and its folder."""
    folder = tmp_path_factory.mktemp("plain")
    whole = make_loop(folder)
    whole.run()
    return whole, folder


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_saves_first(
    tmp_path: Path, number: int, error: type[BaseException], plain_run: tuple[Loop, Path]
) -> None:
    whole, folder = plain_run
    made = make_loop(tmp_path / "run")
    step = made.step

    def step_with_signal() -> None:
        step()
        if made.progress.step == 17:
            os.kill(os.getpid(), number)

    made.step = step_with_signal  # type: ignore[method-assign]
    with pytest.raises(error) as caught:
        made.run()
    assert number != signal.SIGTERM or caught.value.code == 143  # type: ignore[attr-defined]
    assert made.parts.store.steps()[-1] == 17
    resumed = make_loop(tmp_path / "run")
    resumed.resume()
    resumed.run()
    assert same(whole, resumed) and rows(tmp_path / "run") == rows(folder)


def test_the_best_is_kept_and_patience_ends_the_run(tmp_path: Path) -> None:
    scores = iter([1.0, 3.0, 2.0, float("nan"), 2.5, 9.0])
    kept: list[int] = []

    def validate(network: Any, asked: Any) -> Validation:
        score = next(scores)
        return Validation({"chrf": score}, [], score)

    made = make_loop(
        tmp_path / "run",
        validate=validate,
        save_best=lambda network: kept.append(made.progress.step),
        every=5,
        patience=3,
        max_steps=100,
    )
    assert made.run() == "3 validations in a row without improvement"
    assert kept == [5, 10] and made.progress.step == 25


def test_a_torn_log_is_cut_to_whole_lines_and_a_start_anew_empties_it(tmp_path: Path) -> None:
    make_loop(tmp_path / "run", max_steps=10).run()
    file = tmp_path / "run" / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    resumed = make_loop(tmp_path / "run")
    resumed.resume()
    resumed.run()
    assert [row["step"] for row in rows(tmp_path / "run")] == [5, 15, 20, 25, 30]
    assert any("rows are missing" in line for line in resumed.record.display.lines)  # type: ignore[attr-defined]
    for snapshot in (tmp_path / "run" / "snapshots").iterdir():
        (snapshot / "state.json").unlink()
    again = make_loop(tmp_path / "run")
    assert not again.resume()
    again.run()
    assert [row["step"] for row in rows(tmp_path / "run")] == [5, 10, 15, 20, 25, 30]


def test_the_last_steps_are_logged_too(tmp_path: Path) -> None:
    make_loop(tmp_path / "run", max_steps=8).run()
    assert [row["step"] for row in rows(tmp_path / "run")] == [5, 8]
    resumed = make_loop(tmp_path / "run", max_steps=12)
    resumed.resume()
    resumed.run()
    assert [row["step"] for row in rows(tmp_path / "run")] == [5, 10, 12]


def test_ends_by_epochs_and_minutes(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "epochs", max_steps=None, max_epochs=2)
    assert made.run() == "2 epochs are done" and made.progress.step == 40
    made = make_loop(tmp_path / "minutes", max_steps=None, max_minutes=0.001)
    assert "minutes of training are over" in made.run()


def test_bfloat16_learns_and_float16_is_refused(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "bf16", precision="bf16", max_steps=30, log_every_steps=10)
    made.run()
    losses = [row["nll"] for row in rows(tmp_path / "bf16")]
    assert losses[-1] < losses[0]
    assert all(parameter.dtype == torch.float32 for parameter in made.network.parameters())
    with pytest.raises(ConfigError, match="float32 or bfloat16, but is float16"):
        make_loop(tmp_path / "fp16", precision="fp16")


def test_a_row_that_is_too_long_for_nobody(tmp_path: Path) -> None:
    """A batch of one example of one token trains like any other."""
    made = make_loop(tmp_path / "one", max_steps=1)
    stream = made.parts.batches
    made.parts.batches.__class__ = type("One", (type(stream),), {"__next__": lambda self: [Example([2], [2], 0)]})
    made.step()
    assert all(torch.isfinite(parameter).all() for parameter in made.network.parameters())


TIES = [(5.34, 0.0), (3.96, 0.0), (3.20, 0.0), (2.86, 0.0), (2.90, 0.0), (2.86, 0.0), (2.95, 0.0), (9.0, 1.0)]


def tied(made: list[Any], kept: list[int], values: list[tuple[float, float]]) -> dict[str, Any]:
    """The validator and the keeper of a loop whose validations find these losses and scores, by step."""

    def validate(network: Any, asked: Any) -> Validation:
        loss, score = values[made[-1].progress.step // 5 - 1]
        return Validation({"valid_loss": loss, "exact_match": score}, [], score)

    return {"validate": validate, "save_best": lambda network: kept.append(made[-1].progress.step), "every": 5}


def test_equal_scores_are_decided_by_the_loss(tmp_path: Path) -> None:
    # U1: the first of equal ones was kept, which was the worst, and patience ended the run while it learned.
    kept: list[int] = []
    made: list[Any] = []
    settings = tied(made, kept, TIES)
    made.append(make_loop(tmp_path / "run", patience=3, average_best=3, max_steps=100, **settings))
    assert made[0].run() == "3 validations in a row without improvement"
    assert kept == [5, 10, 15, 20] and made[0].progress.step == 35
    assert [step for _, step in made[0].progress.bests] == [20, 30, 25]  # of equal losses the first


def test_a_better_score_wins_whatever_the_loss(tmp_path: Path) -> None:
    kept: list[int] = []
    made: list[Any] = []
    made.append(make_loop(tmp_path / "run", max_steps=40, **tied(made, kept, TIES)))
    made[0].run()
    assert kept == [5, 10, 15, 20, 40]


def test_ties_are_decided_alike_behind_a_resume(tmp_path: Path) -> None:
    kept: list[int] = []
    made: list[Any] = []
    settings = tied(made, kept, TIES)
    for end in (10, 25, 30):
        made.append(make_loop(tmp_path / "run", average_best=3, max_steps=end, **settings))
        made[-1].resume()
        made[-1].run()
    assert kept == [5, 10, 15, 20]
    assert [step for _, step in made[-1].progress.bests] == [20, 30, 25]


def test_the_state_of_an_older_version_is_read() -> None:
    from antiphon.training.progress import Progress

    progress = Progress()
    progress.restore({"step": 9, "best": 2.0, "bests": [[2.0, 3], [1.0, 6]]})
    assert not progress.improves((2.0, -0.1)) and progress.improves((2.1, -9.0))
    assert progress.among_best((2.0, -1.0), 2)
    assert progress.bests == [(2.0, 3), (2.0, 9)]


@pytest.mark.parametrize("dropout", [0.3, 0.0])
def test_micro_batches_of_a_step_do_not_share_their_dropout(
    dropout: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal examples twice in one step: the losses differ by the dropout's bits, and only by them."""
    examples = next(Reversals())
    monkeypatch.setattr(Reversals, "__next__", lambda self: list(examples))
    model = replace(MODEL, dropout=dropout, attention_dropout=dropout, layer_drop=0.0)
    loop, losses = make_loop(tmp_path / "run", model=model, accumulate=3, max_steps=1), []
    forward = loop.forward

    def noting(*given: Any) -> Any:
        found = forward(*given)
        losses.append(float(found.objective.detach()))
        return found

    monkeypatch.setattr(loop, "forward", noting)
    loop.run()
    assert len(losses) == 3 and len(set(losses)) == (3 if dropout else 1)
