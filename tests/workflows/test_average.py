"""Averages of the last snapshots and of the best validations: which weights they hold, which one is kept, resume."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training.runs import MODEL, make_loop, same

from antiphon.errors import ConfigError
from antiphon.recipe import from_mapping
from antiphon.training.loop import Loop, Validation
from antiphon.workflows.average import average_and_compare, average_weights

SCORES = {3: 1.0, 6: 5.0, 9: 2.0, 12: 5.0, 15: 3.0, 18: float("nan")}
SETTINGS: dict[str, Any] = {
    "model": replace(MODEL, encoder_layers=1, decoder_layers=1),
    "max_steps": 18,
    "save_every_steps": 4,
    "keep_last": 3,
    "every": 3,
    "average_best": 3,
}


class Scored:
    """A validator whose scores stand above; it remembers the weights it saw. Averages, at the end, score `averages`."""

    def __init__(self, *averages: float) -> None:
        self.averages, self.seen, self.loop = list(averages), {}, None

    def __call__(self, network: Any, asked: Any) -> Validation:
        assert self.loop is not None
        step, now = self.loop.progress.step, [part.detach().clone() for part in network.parameters()]
        if self.loop.progress.validated == step:
            self.seen["average", len(self.seen)] = now
            return Validation({"chrf": 0.0}, [], self.averages.pop(0))
        self.seen[step] = now
        return Validation({"chrf": SCORES[step]}, [], SCORES[step])


def run(folder: Path, scored: Scored, **settings: Any) -> tuple[Loop, list[Any]]:
    kept: list[Any] = []
    made = make_loop(
        folder,
        validate=scored,
        save_best=lambda network: kept.append([part.detach().clone() for part in network.parameters()]),
        **{**SETTINGS, **settings},
    )
    scored.loop = made
    made.resume()
    made.run()
    return made, kept


def equal(one: list[Any], other: list[Any]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"optimizer": "schedule_free"}], ids=["plain", "ema", "free"])
def test_the_best_are_averaged_as_they_were_validated(tmp_path: Path, settings: dict[str, Any]) -> None:
    scored = Scored(9.0)
    made, kept = run(tmp_path / "run", scored, **settings)
    assert made.progress.bests == [(5.0, 6), (5.0, 12), (3.0, 15)]  # the first of equals; one that is no number never
    assert made.best.steps() == [6, 12, 15]
    trained = [part.detach().clone() for part in made.network.parameters()]
    average_and_compare(made)
    assert equal(trained, list(made.network.parameters()))
    wanted = [sum(parts).div(3) for parts in zip(*(scored.seen[step] for step in (6, 12, 15)), strict=True)]
    for mine, mean in zip(kept[-1], wanted, strict=True):
        torch.testing.assert_close(mine, mean, rtol=0, atol=1e-6)
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert (row["averaged"], row["averaged_by"]) == (3, "best")


@pytest.mark.parametrize(("scores", "which"), [((6.0, 7.0), 1), ((7.0, 6.0), 0), ((6.0, 6.0), 0), ((4.0, 5.0), None)])
def test_the_better_average_is_kept(tmp_path: Path, scores: tuple[float, float], which: int | None) -> None:
    scored = Scored(*scores)
    made, kept = run(tmp_path / "run", scored, average_last=3)
    before = len(kept)
    average_and_compare(made)
    averages = [weights for key, weights in scored.seen.items() if isinstance(key, tuple)]
    assert len(averages) == 2 and not equal(*averages)
    assert equal(kept[-1], averages[which]) if which is not None else len(kept) == before


def test_resumed_is_uninterrupted_and_deletes_nothing_too_early(tmp_path: Path) -> None:
    """Cut where a validation stands behind the last snapshot: what the snapshot counts on must still be there."""
    whole, _ = run(tmp_path / "whole", Scored())

    class Killed(BaseException):
        pass

    for kill_at in (7, 13, 16):
        made = make_loop(tmp_path / "parts", validate=(scored := Scored()), **SETTINGS)
        scored.loop = made
        made.resume()
        step = made.step

        def dying(step: Any = step, made: Loop = made, kill_at: int = kill_at) -> None:
            step()
            if made.progress.step == kill_at:
                raise Killed

        made.step = dying  # type: ignore[method-assign]
        with pytest.raises(Killed):
            made.run()
        state = json.loads(made.parts.store.last(1)[0].read("state.json"))
        assert {step for _, step in state["progress"]["bests"]} <= set(made.best.steps())
    part, _ = run(tmp_path / "parts", Scored())
    assert same(whole, part) and part.progress.bests == whole.progress.bests
    for step in whole.best.steps():
        files = [tmp_path / name / "best" / f"step-{step}" / "weights.safetensors" for name in ("whole", "parts")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert part.best.steps() == whole.best.steps()


def test_snapshots_average_what_they_would_show(tmp_path: Path) -> None:
    made = make_loop(tmp_path / "run", ema=0.9, max_steps=8, save_every_steps=4)
    made.run()
    found = made.parts.store.last(2)
    files = [load_file(snapshot.folder / "evaluated.safetensors") for snapshot in found]
    for name, tensor in average_weights(found).items():
        torch.testing.assert_close(tensor, (files[0][name] + files[1][name]) / 2, rtol=0, atol=1e-6)
    raw = load_file(found[0].folder / "weights.safetensors")
    assert not torch.equal(raw["source.table.weight"], files[0]["source.table.weight"])


def test_without_validation_the_evaluated_weights_are_the_model(tmp_path: Path) -> None:
    kept: list[Any] = []
    made = make_loop(
        tmp_path / "run",
        ema=0.9,
        max_steps=6,
        save_best=lambda network: kept.extend(p.clone() for p in network.parameters()),
    )
    made.run()
    average_and_compare(made)
    with made.evaluated.applied():
        assert equal(kept, list(made.network.parameters()))
    assert not equal(kept, list(made.network.parameters()))


def test_the_best_need_validation_pairs() -> None:
    recipe = {"data": {"train": [("a", "b")]}, "training": {"max_steps": 1, "average_best": 2}}
    with pytest.raises(ConfigError, match=r"`training.average_best` needs validation pairs"):
        from_mapping(recipe)


@pytest.mark.parametrize(("loss", "kept_again"), [(0.5, True), (1.0, False), (1.5, False)])
def test_an_average_that_scores_the_same_is_decided_by_the_loss(tmp_path: Path, loss: float, kept_again: bool) -> None:
    # U1, of averages.
    kept: list[int] = []

    def validate(network: Any, asked: Any) -> Validation:
        return Validation({"valid_loss": loss if made.progress.validated == 18 else 1.0}, [], 3.0)

    made = make_loop(tmp_path / "run", validate=validate, save_best=lambda network: kept.append(0), **SETTINGS)
    made.run()
    assert len(kept) == 1
    average_and_compare(made)
    assert (len(kept) == 2) == kept_again
