"""How fast models answer: the same sources, one after the other, in turns.

    python benchmarks/decoding.py runs/teacher runs/student --input test.en.gz
    python benchmarks/decoding.py runs/teacher runs/student --input test.en.gz --beam-size 4 --batch-size 1

Each round takes every model and beam size once, so that what else the machine does falls on all of them; the figures
are medians of the rounds, by the processor's time and by the clock. Tokens are those of the best hypothesis, the end
included. A row says how many times faster it is than the first model with the same beam size, and than the first model
with the largest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

import antiphon
from antiphon.data.lines import LineReader

Row = dict[str, Any]


def measure(
    models: dict[str, antiphon.Model], texts: list[str], *, beams: list[int], batch_size: int | None, rounds: int
) -> list[Row]:
    """A row for each model and beam size: seconds (medians), tokens, and tokens a second of the processor's time."""
    spent: dict[tuple[str, int], list[tuple[float, float]]] = {}
    tokens: dict[tuple[str, int], int] = {}
    for model in models.values():
        model.generate(texts[:8])  # warms up
    for _ in range(rounds):
        for beam in beams:
            for name, model in models.items():
                clock, processor = time.perf_counter(), time.process_time()
                answers = model.generate(texts, beam_size=beam, batch_size=batch_size)
                taken = (time.process_time() - processor, time.perf_counter() - clock)
                spent.setdefault((name, beam), []).append(taken)
                tokens[name, beam] = sum(len(answer.tokens) + answer.finished for answer in answers)
    rows: list[Row] = []
    for (name, beam), taken in spent.items():
        processor, clock = (statistics.median(part) for part in zip(*taken, strict=True))
        row = {"model": name, "beam_size": beam, "tokens": tokens[name, beam], "processor_seconds": processor}
        rows.append({**row, "clock_seconds": clock, "tokens_per_second": tokens[name, beam] / processor})
    first = next(iter(models))
    base = {row["beam_size"]: row["tokens_per_second"] for row in rows if row["model"] == first}
    for row in rows:
        row["times_same_beam"] = row["tokens_per_second"] / base[row["beam_size"]]
        row["times_largest_beam"] = row["tokens_per_second"] / base[max(beams)]
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="run folders or model folders; the first is the measure"
    )
    parser.add_argument("--input", required=True, help="one source a line, also .gz")
    parser.add_argument("--lines", type=int, default=1000, help="of the input (default: 1000)")
    parser.add_argument("--beam-size", type=int, action="append", help="repeatable (default: 1 and 4)")
    parser.add_argument("--batch-size", type=int, help="sources that run together (default: chosen by size)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="(default: 1)")
    parser.add_argument("--json", help="a file for the same as JSON")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    models = {folder: antiphon.load(folder, device="cpu") for folder in given.models}
    texts = [line for line, _ in zip(LineReader(given.input), range(given.lines), strict=False)]
    beams = given.beam_size or [1, 4]
    rows = measure(models, texts, beams=beams, batch_size=given.batch_size, rounds=given.rounds)
    print(
        f"{len(texts)} sources, {given.threads} thread(s), torch {torch.__version__}; medians of {given.rounds} rounds"
    )
    print(
        f"{'model':40} {'beam':>4} {'tokens':>7} {'s (cpu)':>8} {'s':>8} {'tokens/s':>9} {'x same':>7} {'x largest':>9}"
    )
    for row in rows:
        print(
            f"{row['model'][-40:]:40} {row['beam_size']:4} {row['tokens']:7} {row['processor_seconds']:8.2f} "
            f"{row['clock_seconds']:8.2f} {row['tokens_per_second']:9.0f} {row['times_same_beam']:7.2f} "
            f"{row['times_largest_beam']:9.2f}"
        )
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
