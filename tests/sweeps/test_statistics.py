"""Student's t: values of tables, and the size of the tests that name a winner."""

from __future__ import annotations

import doctest
import math
import random
from pathlib import Path

import pytest
from counts import count

from antiphon.sweeps import statistics as tested
from antiphon.sweeps.comparison import judge
from antiphon.sweeps.definition import Definition, SweepConfig
from antiphon.sweeps.results import DONE, SettingResult
from antiphon.sweeps.statistics import incomplete_beta, mean_interval, quantile, two_sided, welch


def test_the_example() -> None:
    assert doctest.testmod(tested).failed == 0


@pytest.mark.parametrize(  # two-sided 5 % and 1 % points, as every table of t has them
    ("degrees", "five", "one"),
    [(1, 12.7062, 63.6567), (2, 4.3027, 9.9248), (4, 2.7764, 4.6041), (10, 2.2281, 3.1693), (100, 1.9840, 2.6259)],
)
def test_quantiles_are_those_of_the_tables(degrees: int, five: float, one: float) -> None:
    assert quantile(0.05, degrees) == pytest.approx(five, abs=6e-5)
    assert quantile(0.01, degrees) == pytest.approx(one, abs=6e-5)
    assert two_sided(five, degrees) == pytest.approx(0.05, abs=1e-5)


def test_the_incomplete_beta_function_has_its_closed_forms() -> None:
    for x in (0.01, 0.3, 0.5, 0.9, 0.999):
        assert incomplete_beta(x, 1, 1) == pytest.approx(x)
        assert incomplete_beta(x, 2, 1) == pytest.approx(x * x)
        assert incomplete_beta(x, 0.5, 0.5) == pytest.approx(2 / math.pi * math.asin(math.sqrt(x)))
        assert incomplete_beta(x, 3, 5) == pytest.approx(1 - incomplete_beta(1 - x, 5, 3))
    assert (incomplete_beta(0.0, 2, 3), incomplete_beta(1.0, 2, 3)) == (0.0, 1.0)


def test_welch_is_the_integral_of_the_density_of_t() -> None:
    """Both samples have mean difference 3 and variances 1 and 12.5: t and the degrees of freedom by hand."""
    first, second = [1.0, 2.0, 3.0], [0.0, 5.0, 7.5, 7.5]
    part, other = 1.0 / 3, 12.5 / 4
    t, degrees = 3.0 / math.sqrt(part + other), (part + other) ** 2 / (part**2 / 2 + other**2 / 3)
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi)

    def density(x: float) -> float:
        return scale * (1 + x * x / degrees) ** (-(degrees + 1) / 2)

    step = t / 2000  # Simpson's rule from 0 to t
    inside = sum((4 if n % 2 else 2) * density(n * step) for n in range(1, 2000)) + density(0) + density(t)
    assert welch(first, second) == pytest.approx(1 - 2 * inside * step / 3, abs=1e-9)


def test_samples_without_spread() -> None:
    assert math.isnan(welch([1.0], [1.0, 2.0])) and mean_interval([1.0]) is None
    assert welch([1.0, 1.0], [1.0, 1.0]) == 1.0 and welch([1.0, 1.0], [2.0, 2.0]) == 0.0
    assert mean_interval([1.0, 3.0]) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)


def results(values: list[list[float]]) -> list[SettingResult]:
    """Finished settings, best first."""
    made = [
        SettingResult(number, {"k": number}, DONE, {seed: {"value": v, "minutes": 1} for seed, v in enumerate(each)})
        for number, each in enumerate(values)
    ]
    return sorted(made, key=lambda setting: -setting.mean)


@pytest.fixture
def definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Definition:
    from antiphon.sweeps import comparison

    monkeypatch.setattr(comparison, "_pairs", lambda *_: {})
    config = SweepConfig(recipe="r.yaml", space={"k": [1]}, output=str(tmp_path))
    return Definition(tmp_path / "s.yaml", config, {}, {}, {}, {})


def test_equal_settings_have_a_winner_in_less_than_five_of_a_hundred_sweeps(definition: Definition) -> None:
    chance, won, sweeps = random.Random(0), 0, count("equal_settings")
    for _ in range(sweeps):
        equal = results([[chance.gauss(30, 1) for _ in range(3)] for _ in range(4)])
        won += judge(equal, definition, ("bleu", False)).winner is not None
    assert won / sweeps < 0.05


def test_a_setting_that_is_better_wins_and_one_that_is_not_is_named(definition: Definition) -> None:
    clear = judge(results([[30, 31, 30.5], [20, 21, 20.5], [10, 11, 10.5]]), definition, ("bleu", False))
    assert clear.winner is not None and clear.winner.number == 0 and not clear.rivals
    assert clear.text.startswith("The winner is k=0 (bleu 30.500): better than each of the 2 others (p < 0.05; Welch")
    close = judge(results([[30, 31, 30.5], [30.2, 30.9, 30.3], [10, 11, 10.5]]), definition, ("bleu", False))
    assert close.winner is None and [rival.number for rival in close.rivals] == [1]
    assert (
        "No winner: k=0 has the best mean (bleu 30.500), but is not significantly better than 1 of the 2" in close.text
    )


def test_a_sweep_that_goes_on_has_no_winner_yet(definition: Definition) -> None:
    settings = [*results([[30, 31, 30.5], [20, 21, 20.5]]), SettingResult(2, {"k": 2}, "running", {})]
    verdict = judge(settings, definition, ("bleu", False))
    assert verdict.winner is None and verdict.rivals == []
    assert verdict.text.startswith("So far, with 1 of 3 settings not finished: the winner is k=0")


def test_one_seed_a_setting_names_no_winner(definition: Definition) -> None:
    verdict = judge(results([[30.0], [20.0]]), definition, ("bleu", False))
    assert verdict.winner is None and "with one run a setting, the spread of the seeds is unknown" in verdict.text
    assert "no setting has finished" in judge([], definition, ("bleu", False)).text
    assert "only one setting has finished" in judge(results([[1.0, 2.0]]), definition, ("bleu", False)).text
