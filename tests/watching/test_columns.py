"""Columns of figures: the values of the rows, tokens also where they were not logged, and repeated steps once."""

from __future__ import annotations

import math
import random
import struct

import pytest
from watching.logs import training_row, validation_row

from antiphon.watching.columns import FigureColumns


def numbers(columns: FigureColumns, name: str, start: int = 0) -> list[float]:
    """A column as the page reads its bytes."""
    [data] = columns.bytes_of([name], start=start)
    code, size = ("d", 8) if name in columns.positions else ("f", 4)
    count = len(columns) - start
    assert len(data) == math.ceil(count * size / 8) * 8
    return list(struct.unpack(f"<{count}{code}", data[: count * size]))


def test_columns_are_the_rows_in_any_parts() -> None:
    rows = [training_row(step) if step % 5 else validation_row(step, bleu=step / 3) for step in range(1, 200)]
    whole, parts, chance = FigureColumns(), FigureColumns(), random.Random(0)
    whole.extend(rows)
    place = 0
    while place < len(rows):
        size = chance.randrange(1, 20)
        parts.extend(rows[place : place + size])
        place += size
    assert list(whole.figures) == list(parts.figures)
    for name in (*whole.positions, *whole.figures):
        have = numbers(whole, name)
        assert [*map(repr, have)] == [*map(repr, numbers(parts, name))]
        if name in whole.figures:
            wanted = [row.get(name, math.nan) for row in rows]
            assert all(a == pytest.approx(b, rel=1e-6, nan_ok=True) for a, b in zip(have, wanted, strict=True)), name
    assert numbers(whole, "step") == [row["step"] for row in rows]
    assert numbers(whole, "loss", start=190) == numbers(whole, "loss")[190:] or len(whole) == 199
    assert whole.last["bleu"] == pytest.approx(195 / 3)


def test_tokens_without_a_count_are_the_integral_of_the_rate() -> None:
    chance, rows, tokens, seconds = random.Random(3), [], 0, 0.0
    for step in range(1, 300):
        spent, real = chance.uniform(0.5, 2), chance.randrange(5000, 20_000)
        tokens, seconds = tokens + real, seconds + spent
        place = {"step": step, "time_seconds": round(seconds, 3)}
        rows.append({**place, "loss": 1.0, "tokens_per_second": round(real / spent, 1), "tokens": tokens})
        if step % 7 == 0:
            rows.append({**place, "valid_loss": 1.0})
    logged, integrated = FigureColumns(), FigureColumns()
    logged.extend(rows)
    integrated.extend([{name: value for name, value in row.items() if name != "tokens"} for row in rows])
    exact, near = numbers(logged, "tokens"), numbers(integrated, "tokens")
    training = [place for place, row in enumerate(rows) if "loss" in row]
    assert [exact[place] for place in training] == [row["tokens"] for row in rows if "loss" in row]
    assert [near[place] for place in training] == pytest.approx([exact[place] for place in training], rel=1e-3)
    assert near == sorted(near) and exact == sorted(exact)


def test_positions_never_fall() -> None:
    columns = FigureColumns()
    columns.extend([{"step": 1, "time_seconds": 10, "tokens": 1000, "tokens_per_second": 100}])
    columns.extend([{"step": 2, "time_seconds": 20, "valid_loss": 1.0}])  # by the rate before: 2,000 tokens
    columns.extend([{"step": 3, "time_seconds": 30, "tokens": 1500, "tokens_per_second": 25}])
    columns.extend([{"step": 4, "time_seconds": 40, "tokens": 2500, "tokens_per_second": 100}])
    assert numbers(columns, "tokens") == [1000, 2000, 2000, 2500]


def test_steps_that_are_repeated_replace_the_earlier_ones() -> None:
    columns = FigureColumns()
    columns.extend([training_row(step) for step in range(1, 11)])
    again = [training_row(step, offset=1.0) for step in range(6, 15)]
    assert columns.extend(again) and not columns.extend([training_row(15, offset=1.0)])
    assert numbers(columns, "step") == [*range(1, 16)]
    assert numbers(columns, "loss")[4:6] == pytest.approx(
        [training_row(5)["loss"], training_row(6, offset=1.0)["loss"]]
    )
    assert all(len(column) == 15 for column in (*columns.positions.values(), *columns.figures.values()))


def test_values_that_are_no_figures_are_left_out() -> None:
    columns = FigureColumns()
    rows = [
        {"step": 1, "loss": 1.0, "note": "text", "none": None, "list": [1], "averaged_by": "steps"},
        {"step": 2, "loss": -math.inf, "big": 10**400, "time_seconds": "soon"},
        {"step": 3, "loss": 1e300, "note": "more", "time_seconds": 5},
    ]
    columns.extend(rows)
    assert list(columns.figures) == ["loss", "big"]
    loss = numbers(columns, "loss")
    assert loss[0] == 1 and math.isinf(loss[1]) and math.isinf(loss[2])  # not finite is not the same as absent
    assert numbers(columns, "time_seconds") == [0, 0, 5] and math.isnan(numbers(columns, "big")[0])
