"""Reading a log while it grows, is truncated or replaced: every whole row once, none lost, none read in halves."""

from __future__ import annotations

import json
import os
import random
import time
from itertools import pairwise
from pathlib import Path

import pytest
from counts import count
from watching.logs import append, training_row

from antiphon.watching.tail import LogTail, read_sample


def steps_of(rows: list[dict]) -> list[int]:
    return [row["step"] for row in rows]


def test_a_half_written_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    append(file, [training_row(1)])
    tail = LogTail(file)
    line = (json.dumps({"step": 2, "text": "ü"}, ensure_ascii=False) + "\n").encode()
    assert steps_of(tail.read().rows) == [1]
    for place in range(len(line)):  # also in the middle of a character
        with file.open("ab") as stream:
            stream.write(line[place : place + 1])
        part = tail.read()
        assert steps_of(part.rows) == ([2] if place == len(line) - 1 else []) and not part.restarted
    assert tail.open_bytes == 0 and tail.bad_lines == 0


def test_truncation_by_a_resumed_run_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    append(file, map(training_row, range(1, 11)))
    tail = LogTail(file)
    assert steps_of(tail.read().rows) == [*range(1, 11)]
    keep = sum(len(line) for line in file.read_bytes().splitlines(keepends=True)[:6])
    with file.open("r+b") as stream:
        stream.truncate(keep)
    part = tail.read()
    assert part.restarted and steps_of(part.rows) == [*range(1, 7)]


def test_truncation_is_noticed_although_the_log_is_longer_again(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    append(file, map(training_row, range(1, 11)))
    tail = LogTail(file)
    tail.read()
    with file.open("r+b") as stream:
        stream.truncate(len(file.read_bytes().splitlines(keepends=True)[0]))
    append(file, [training_row(step, offset=0.5) for step in range(2, 30)])
    part = tail.read()
    assert part.restarted and steps_of(part.rows) == [*range(1, 30)]
    assert part.rows[5]["loss"] == training_row(6, offset=0.5)["loss"]


def test_a_copied_log_that_goes_on_is_not_read_again(tmp_path: Path) -> None:
    file, other = tmp_path / "metrics.jsonl", tmp_path / "other"
    append(file, map(training_row, range(1, 5)))
    tail = LogTail(file)
    tail.read()
    other.write_bytes(file.read_bytes())
    append(other, [training_row(5)])
    other.replace(file)  # another file with the same beginning, as rsync leaves it
    part = tail.read()
    assert not part.restarted and steps_of(part.rows) == [5]


@pytest.mark.parametrize("chunk", [64, 1 << 20])
def test_lines_that_cannot_be_read_are_counted_and_left_out(tmp_path: Path, chunk: int) -> None:
    file = tmp_path / "metrics.jsonl"
    bad = [b"{", b"null", b"[1]", b'{"loss": 1}', b'{"step": "3"}', b'{"step": true}', b"\xff\xfe", b'{"step": 1e999}']
    # Two halves of a row on two lines are two bad lines, though they are JSON when joined by a comma.
    bad += [b'{"step": 7', b'"loss": 1}', b'{"step": 8},{"step": 9}', b"[" * 5000]
    good = [json.dumps(training_row(step)).encode() for step in range(20)]
    lines = [*good, *bad]
    random.Random(0).shuffle(lines)
    file.write_bytes(b"\n".join(lines) + b"\n")
    tail, found = LogTail(file), []
    while True:
        part = tail.read(chunk)
        found += part.rows
        if not part.more:
            break
    assert sorted(steps_of(found)) == [*range(20)] and tail.bad_lines == len(bad)


def test_any_cut_of_the_reading_gives_the_same_rows(tmp_path: Path) -> None:
    file, chance = tmp_path / "metrics.jsonl", random.Random(1)
    append(file, [training_row(step, note="x" * chance.randrange(300)) for step in range(60)])
    data = file.read_bytes()
    for _ in range(count("watched_logs")):
        file.write_bytes(b"")
        tail, found, written = LogTail(file), [], 0
        while written < len(data) or len(found) < 60:
            step = chance.randrange(1, 3000)
            with file.open("ab") as stream:
                stream.write(data[written : written + step])
            written += step
            for _ in range(chance.randrange(3)):
                found += tail.read(chance.randrange(1, 2000)).rows
        assert steps_of(found) == [*range(60)]


def test_not_finite_numbers_are_read(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    append(file, [{"step": 1, "loss": float("nan")}, {"step": 2, "loss": float("inf")}, {"step": 3, "loss": 1.0}])
    assert [row["loss"] for row in LogTail(file).read().rows] == [float("-inf"), float("-inf"), 1.0]


def test_a_sample_of_a_long_log_has_rows_of_all_its_parts(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    append(file, map(training_row, range(5000)))
    steps = steps_of(read_sample(file, 100))
    assert len(steps) == 100 and steps == sorted(set(steps)) and steps[0] == 0
    assert max(b - a for a, b in pairwise(steps)) < 100 and steps[-1] > 4900


def test_the_age_of_a_log_does_not_follow_a_clock_that_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n')
    os.utime(file, (time.time() - 100, time.time() - 100))
    tail, real, shift = LogTail(file), time.time, 0.0
    assert tail.age_seconds is None
    monkeypatch.setattr(time, "time", lambda: real() + shift)
    tail.read()
    assert tail.age_seconds is not None and 99 < tail.age_seconds < 110
    for shift in (7200.0, -7200.0):  # noqa: B007  the clock is set forward and back by two hours
        tail.read()
        assert 99 < tail.age_seconds < 110
    with file.open("a") as stream:
        stream.write('{"step": 2}\n')
    shift = 7200.0  # the file was changed before
    tail.read()
    assert 0 <= tail.age_seconds < 10
