"""Which settings are tried: grids, random and Bayesian search, pruning, failures, several machines, resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import antiphon
from antiphon.cli.main import main
from antiphon.errors import ConfigError, WorkError
from antiphon.recipe import read_recipe
from antiphon.sweeps.results import DIVERGED, DONE, FAILED_STATE, PRUNED

GRID = "space: {training.lr: [1e-3, 3e-3, 1e-2], training.optimizer: [adamw, muon]}\nseeds: 2\noutput: out\n"
TPE = "search: tpe\ntrials: 8\nspace: {training.lr: {low: 1e-4, high: 1e-2, log: true}, model.dropout: [0, 0.1]}\n"


def test_a_grid_is_tried_once(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    file = write_sweep(GRID)
    result = antiphon.sweep(file)
    assert made_runs.started == [f"trial-{n:04}/seed-{seed}" for n in range(6) for seed in (0, 1)]
    assert [setting.params["training.lr"] for setting in result.settings] == ["0.01"] * 2 + ["0.003"] * 2 + [
        "0.001"
    ] * 2
    assert {setting.state for setting in result.settings} == {DONE}
    assert result.best is not None and result.best.values == [10.0, 10.0] and result.metric == ("chrf", False)
    assert "has the best mean" in result.verdict.text and result.verdict.winner is None  # the optimizers are equal
    assert result.importance == pytest.approx({"training.lr": 1.0, "training.optimizer": 0.0})
    with pytest.raises(
        ConfigError, match=r"the study `s` on `journal:s.yaml.log` must not exist yet, but does \(trials: 6\)"
    ):
        antiphon.sweep(file)
    again = antiphon.sweep(file, resume=True)
    assert len(made_runs.started) == 12 and again.as_json() == result.as_json()


def test_flags_go_to_each_run(write_sweep: Callable[..., Path], made_runs, folder: Path, capsys) -> None:
    file = write_sweep("space: {training.lr: [1e-3]}\n")
    assert main(["sweep", str(file), "--threads", "1", "--dtype", "bf16", "--device", "cpu", "--quiet"]) == 0
    assert made_runs.words[-6:] == ["--device", "cpu", "--threads", "1", "--dtype", "bfloat16"]
    assert main(["sweep", str(file), "--seed", "3"]) == 2
    assert "`--seed` must be left out: the seeds of the runs are `seeds` of the sweep." in capsys.readouterr().err


def test_the_best_is_a_recipe_that_train_accepts(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    result = antiphon.sweep(write_sweep(GRID + "set: {model.dropout: 0.3}\n"))
    assert result.best_recipe is not None
    text = result.best_recipe.read_text()
    assert text.startswith("# The best setting of the sweep") and "# No winner" in text
    assert "\nseed:" not in text and "batch_tokens: 200" in text and "clip_norm" not in text  # as short as the recipe
    config = read_recipe(result.best_recipe)
    assert (config.training.lr, config.training.optimizer, config.model.dropout) == (0.01, "adamw", 0.3)
    assert config.data.train.path == str(folder / "p.tsv") and config.output == "out/best"


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_search_that_is_continued_draws_what_an_uninterrupted_one_does(
    search: str, write_sweep: Callable[..., Path], made_runs, folder: Path
) -> None:
    text = TPE.replace("tpe", search)
    whole = antiphon.sweep(write_sweep(text, "whole.yaml"))
    assert len(whole.settings) == 8 == len({setting.params["training.lr"] for setting in whole.settings})
    short = antiphon.sweep(write_sweep(text.replace("8", "5"), "parts.yaml"))
    assert len(short.settings) == 5
    parts = antiphon.sweep(write_sweep(text, "parts.yaml"), resume=True)
    assert {str(one) for one in parts.settings} == {str(one) for one in whole.settings}
    assert whole.method == "PED-ANOVA" and set(whole.importance) == {"training.lr", "model.dropout"}


def test_tpe_finds_better_rates_than_chance(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    found = antiphon.sweep(write_sweep(TPE.replace("8", "24") + "prune: none\n"))
    later = [setting.mean for setting in found.settings if setting.number >= 12]
    first = [setting.mean for setting in found.settings if setting.number < 10]
    assert sum(later) / len(later) > sum(first) / len(first)


def test_a_small_space_ends_when_all_of_it_was_tried(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    text = "search: random\ntrials: 50\nspace: {training.optimizer: [adamw, muon], model.dropout: [0, 0.1]}\n"
    result = antiphon.sweep(write_sweep(text))
    assert len(result.settings) == 4 == len(made_runs.started)


def test_runs_that_fall_behind_are_pruned(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    text = "space: {training.lr: [1e-2, 9e-3, 8e-3, 7e-3, 6e-3, 5e-3, 1e-3]}\nseeds: 2\n"
    result = antiphon.sweep(write_sweep(text + "prune: {median: {startup_trials: 3}}\n"))
    states = {setting.params["training.lr"]: setting.state for setting in result.settings}
    assert states["0.01"] == states["0.009"] == states["0.008"] == DONE and states["0.001"] == PRUNED
    pruned = next(setting for setting in result.settings if setting.params["training.lr"] == "0.001")
    assert pruned.runs == {} and pruned.reported == {10: pytest.approx(0.1)}  # ended at its first validation
    assert "trial-0006/seed-0" in made_runs.started and "trial-0006/seed-1" not in made_runs.started


def test_a_failed_run_is_a_row_and_is_repeated_by_resume(
    write_sweep: Callable[..., Path], made_runs, folder: Path
) -> None:
    made_runs.codes = {
        "trial-0001/seed-1": (1, "the disk is full (No space left). Free some space."),
        "trial-0002/seed-0": (1, "the loss (nan) and gradient norm (nan) of step 3 must be finite; 5 steps in a row"),
    }
    file = write_sweep("space: {training.lr: [1e-3, 3e-3, 1e-2]}\nseeds: 2\n")
    result = antiphon.sweep(file)
    notes = {setting.params["training.lr"]: (setting.state, setting.note) for setting in result.settings}
    assert notes["0.001"] == (DONE, "") and notes["0.003"] == (FAILED_STATE, made_runs.codes["trial-0001/seed-1"][1])
    assert notes["0.01"][0] == DIVERGED and "must be finite" in notes["0.01"][1]
    made_runs.codes, made_runs.started = {}, []
    again = antiphon.sweep(file, resume=True)
    # The disk has space now: its run is continued in its folder. A rate that diverges is a result.
    assert made_runs.started == ["trial-0001/seed-0", "trial-0001/seed-1"]
    assert {setting.params["training.lr"]: setting.state for setting in again.settings} == {
        "0.001": DONE, "0.003": DONE, "0.01": DIVERGED
    }  # fmt: skip


def test_a_cause_that_is_not_the_setting_does_not_use_up_the_grid(
    write_sweep: Callable[..., Path], made_runs, folder: Path
) -> None:
    made_runs.codes = {f"trial-{n:04}/seed-0": (1, "ModuleNotFoundError: No module named 'torch'") for n in range(1, 9)}
    file = write_sweep("space: {training.lr: [1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3]}\n")
    with pytest.raises(
        WorkError, match="3 settings in a row failed, the last one with: ModuleNotFoundError: No module"
    ):
        antiphon.sweep(file)
    assert len(made_runs.started) == 4
    made_runs.codes = {}
    assert [setting.state for setting in antiphon.sweep(file, resume=True).settings] == [DONE] * 6


def test_a_first_run_that_is_refused_ends_the_sweep(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    made_runs.codes = {"trial-0000/seed-0": (2, "line 3 of p.tsv has one column.")}
    file = write_sweep("space: {training.lr: [1e-3, 3e-3]}\n")
    with pytest.raises(ConfigError, match=r"trial 0 was refused: line 3 of p.tsv has one column \(`.*seed-0.log`\)"):
        antiphon.sweep(file)
    made_runs.codes = {}
    assert [setting.state for setting in antiphon.sweep(file, resume=True).settings] == [DONE, DONE]


@pytest.mark.parametrize("storage", ["sqlite:///shared.db", "journal:shared.log"])
def test_two_machines_share_a_study(storage: str, write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    file = write_sweep("space: {training.lr: [1e-3, 3e-3, 1e-2, 2e-3]}\n")
    values = made_runs.values

    def join(recipe) -> list[float]:
        """During the first run another machine, with a folder of its own, joins and takes what is left."""
        if len(made_runs.started) == 1:
            said: list[str] = []
            other = antiphon.sweep(file, storage=storage, output="elsewhere", resume=True, say=said.append)
            assert [setting.state for setting in other.settings] == [DONE] * 3 + ["running"]
            assert any("trial 0 runs on" in line for line in said)
        return values(recipe)

    made_runs.values = join
    result = antiphon.sweep(file, storage=storage, output="here")
    assert sorted(made_runs.started) == [f"trial-{n:04}/seed-0" for n in range(4)]
    assert [setting.state for setting in result.settings] == [DONE] * 4
    assert (folder / "here/trial-0000").is_dir() and (folder / "elsewhere/trial-0003").is_dir()


def test_an_interrupted_trial_is_continued(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    file, values = write_sweep("space: {training.lr: [1e-3, 3e-3]}\nseeds: 3\n"), made_runs.values

    def interrupt(recipe) -> list[float]:
        if len(made_runs.started) == 2:
            raise KeyboardInterrupt
        return values(recipe)

    made_runs.values = interrupt
    with pytest.raises(KeyboardInterrupt):
        antiphon.sweep(file)
    made_runs.values = values
    antiphon.sweep(file, resume=True)
    assert made_runs.started == [
        "trial-0000/seed-0", "trial-0000/seed-1",  # interrupted, continued; the seed that had finished is not repeated
        "trial-0000/seed-1", "trial-0000/seed-2", "trial-0001/seed-0", "trial-0001/seed-1", "trial-0001/seed-2",
    ]  # fmt: skip


def test_variants_and_sections_are_values_too(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    recipe = folder / "r.yaml"
    recipe.write_text(recipe.read_text() + "variants: {wide: {model: {d_model: 64}}, narrow: {model: {d_model: 16}}}\n")
    text = "space:\n  variant: all\n  training: {choices: {slow: {lr: 1e-3}, fast: {lr: 1e-2, optimizer: muon}}}\n"
    antiphon.sweep(write_sweep(text))
    made = [read_recipe(f"runs/sweeps/s/trial-{n:04}/seed-0.yaml") for n in range(4)]
    assert [config.model.d_model for config in made] == [64, 64, 16, 16]
    assert [(config.training.lr, config.training.optimizer) for config in made] == [(1e-3, "adamw"), (1e-2, "muon")] * 2
    assert {config.training.batch_tokens for config in made} == {200}  # the rest of the section stays


def test_answers_of_the_runs_are_a_second_test(write_sweep: Callable[..., Path], made_runs, folder: Path) -> None:
    """Two settings whose seeds agree, but whose answers differ in one pair of forty: no winner by the pairs."""

    def answers(recipe) -> list[dict]:
        right = 40 if recipe["training"]["lr"] > 5e-3 else 39
        return [
            {"source": f"s{n}", "references": [f"word{n}"], "answer": f"word{n}" if n < right else "else"}
            for n in range(40)
        ]

    made_runs.answers = answers
    result = antiphon.sweep(write_sweep("space: {training.lr: [1e-3, 1e-2]}\nseeds: 2\n"))
    assert list(result.verdict.by_seeds.values()) == [0.0]  # no spread
    assert 0.2 < result.verdict.by_pairs[0] <= 1 and result.verdict.winner is None
    assert "Welch's test over 2 seeds and the paired bootstrap over the validation pairs" in result.verdict.text
    stored = json.loads((folder / "runs/sweeps/s/sweep.json").read_text())
    assert stored["verdict"]["p_by_pairs"] == {"0": result.verdict.by_pairs[0]} and stored["verdict"]["winner"] is None
