"""The space of a sweep: values, ranges, grids."""

from __future__ import annotations

import pytest

from antiphon.settings import SettingError
from antiphon.sweeps.space import (
    ChoiceSpace,
    RangeSpace,
    describe,
    grid_of,
    grid_size,
    label_of,
    parse_space,
    short_key,
)


def test_values_are_chosen_by_their_labels() -> None:
    space = parse_space({"attention.encoder": ["full", {"window": 8}], "model.dropout": [0, 0.1, 1e-5]}, grid=True)
    encoder, dropout = space["attention.encoder"], space["model.dropout"]
    assert encoder.grid() == ["full", "{window: 8}"] and encoder.value("{window: 8}") == {"window": 8}
    assert dropout.grid() == ["0", "0.1", "1e-05"] and dropout.value("1e-05") == 1e-5
    named = parse_space({"model": {"choices": {"small": {"d_model": 64}, "large": {"d_model": 256}}}}, grid=False)
    assert named["model"].grid() == ["small", "large"] and named["model"].value("large") == {"d_model": 256}
    assert [label_of(value) for value in (None, True, [1, "a"])] == ["none", "true", "[1, a]"]


def test_a_range_becomes_the_values_of_a_grid() -> None:
    space = parse_space(
        {
            "training.lr": {"low": 1e-4, "high": 1e-2, "log": True, "points": 5},
            "model.dropout": {"low": 0.0, "high": 0.3, "step": 0.1},
            "model.encoder_layers": {"low": 1, "high": 6, "points": 3},
        },
        grid=True,
    )
    assert all(isinstance(domain, ChoiceSpace) for domain in space.values())
    values = {key: [domain.value(label) for label in domain.grid()] for key, domain in space.items()}
    assert values["training.lr"] == pytest.approx([1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2], rel=1e-5)
    assert values["model.dropout"] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert values["model.encoder_layers"] == [1, 4, 6] and all(
        isinstance(n, int) for n in values["model.encoder_layers"]
    )
    assert grid_size(space) == 5 * 4 * 3 == len(list(grid_of(space)))


def test_a_range_stays_one_outside_a_grid() -> None:
    space = parse_space(
        {"training.lr": {"low": 1e-4, "high": 1e-2}, "model.d_model": {"low": 32, "high": 64}}, grid=False
    )
    assert isinstance(space["training.lr"], RangeSpace) and not space["training.lr"].whole
    assert space["model.d_model"].value(48.0) == 48 and isinstance(space["model.d_model"].value(48.0), int)
    assert grid_size(space) is None
    assert grid_size(parse_space({"model.d_model": {"low": 32, "high": 64, "step": 16}}, grid=False)) == 3


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "must have at least one setting, but is empty"),
        ([1], "must map settings of the recipe to their values, but is a list"),
        ({"a": []}, "`a` must have at least one value, but is an empty list"),
        (
            {"a": 3},
            "`a` must be a list of values, {low, high} or {choices: values by name}, but is 3. For one value, use",
        ),
        ({"a": [1, 1]}, "`a` must have each value once, but has `1` twice"),
        ({"a": {"low": 2, "high": 1}}, "`a` must have `low` below `high`, but has 2 and 1"),
        ({"a": {"low": 0, "high": 1, "log": True}}, "`a.low` must be above 0 where `log` is true, but is 0"),
        ({"a": {"low": 0, "high": 1, "stpe": 0.1}}, "`a.stpe` is not known; .* did you mean `step`"),
        ({"a": {"low": 0, "high": 1}}, "`a` needs `points` or `step` in a grid"),
        ({"a": {"low": "x", "high": 1}}, "`a.low` must be a number, but is the text `x`"),
        ({"a": {"low": 0, "high": 1, "step": 2}}, "`a.step` must be above 0 and at most 1, but is 2"),
        ({"a": {"low": 0, "high": 1, "points": 1}}, "`a.points` must be a whole number of at least 2"),
        ({"a": {"choices": {}}}, "`a.choices` must be a list of values, or values by name"),
    ],
)
def test_a_wrong_space_is_one_line(space: object, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse_space(space, grid=True)


def test_names_are_short_where_they_are_clear() -> None:
    keys = ["training.lr", "tokenizer.source.kind", "tokenizer.target.kind"]
    assert [short_key(key, keys) for key in keys] == ["lr", "tokenizer.source.kind", "tokenizer.target.kind"]
    assert describe({"training.lr": 0.001, "training.optimizer": "muon"}) == "lr=0.001 optimizer=muon"
