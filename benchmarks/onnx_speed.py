"""Exported ONNX files beside the model itself: greedy answers that are equal, and tokens a second.

    python benchmarks/onnx_speed.py runs/demo                               # held-out phrases of the built-in corpus
    python benchmarks/onnx_speed.py MODEL --source test.en --target test.de --sentences 500 --batches 1,32
    python benchmarks/onnx_speed.py MODEL --random 500                      # rows of random ids, for random weights

All search greedily, on the same weights, ids, threads and batches of rows of similar length; encoding and decoding of
texts is left out. The kinds take turns, `--rounds` times; tokens a second are medians by the clock, and count the
tokens of each answer with its end. `equal`: the share of answers that are, token by token, those of the model in
float32. With references, `bleu` and `exact` (the share of answers that are the reference).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import antiphon
from antiphon.config import GenerationConfig
from antiphon.evaluation.metrics import measure
from antiphon.export.onnx import OnnxModel, export_onnx
from antiphon.export.onnx.checking import random_rows
from antiphon.search.engine import answer

Rows = list[list[int]]
COLUMNS = ("kind", "batch", "tokens_s", "slowest", "fastest", "equal", "bleu", "exact", "MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--source", type=Path)
    parser.add_argument("--target", type=Path)
    parser.add_argument("--random", type=int, help="rows of random ids in place of texts")
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--most", type=int, help="the most new tokens of an answer")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    model: Any = antiphon.load(flags.model, device="cpu")
    rows, references = _inputs(flags, model)
    print(f"{len(rows)} sources, {flags.threads} threads, {torch.__version__=}")
    with tempfile.TemporaryDirectory() as made:
        kinds = _kinds(model, Path(made), flags)
        print("  ".join(f"{name:>16}" for name in COLUMNS))
        for batch in map(int, flags.batches.split(",")):
            for line in _figures(kinds, rows, references, model, batch=batch, rounds=flags.rounds):
                print("  ".join(f"{value:>16}" for value in line), flush=True)


def _inputs(flags: argparse.Namespace, model: Any) -> tuple[Rows, list[str]]:
    if flags.random:
        return random_rows(model, count=flags.random, seed=1), []
    if flags.source:
        sides = [file.read_text(encoding="utf-8").splitlines() if file else [] for file in (flags.source, flags.target)]
    else:
        from antiphon.text.phrases import phrases

        sides = [list(side) for side in zip(*phrases("en", "de").test, strict=True)]
    sources, references = (side[: flags.sentences] for side in sides)
    return model.source_tokenizer.encode_batch(sources), references


def _kinds(model: Any, folder: Path, flags: argparse.Namespace) -> dict[str, tuple[Callable[[Rows], Rows], float]]:
    """For each kind a function of a batch of rows to answers, and the size of its files in MB."""

    def ours(network: Any) -> Callable[[Rows], Rows]:
        def run(rows: Rows) -> Rows:
            config = GenerationConfig(beam_size=1, max_new_tokens=flags.most)
            found = answer(network, rows, config, model.special_tokens)
            end = model.special_tokens.end
            return [[id for id in model.special_tokens.without_first(each[0].ids) if id != end] for each in found]

        return run

    small = model.quantize()
    weights = sum(part.numel() for part in model.network.parameters()) * 4 / 1e6
    kinds = {"antiphon float32": (ours(model.runtime), weights), "antiphon int8": (ours(small.runtime), float("nan"))}
    for name, settings in (
        ("onnx merged", {}), ("onnx separate", {"decoder": "separate"}),
        ("onnx int8", {"decoder": "separate", "quantize": "int8"}),
    ):  # fmt: skip
        place = folder / name.replace(" ", "-")
        report = export_onnx(model, place, **settings)
        print(f"{name}: {'; '.join(report.lines())}", flush=True)
        runner = OnnxModel.load(place, threads=flags.threads)
        size = sum(file.stat().st_size for file in place.glob("*.onnx*")) / 1e6

        def run(rows: Rows, runner: OnnxModel = runner) -> Rows:
            return runner.generate_ids(rows, flags.most)

        kinds[name] = run, size
    return kinds


def _figures(
    kinds: dict[str, tuple[Callable[[Rows], Rows], float]], rows: Rows, references: Sequence[str], model: Any, *,
    batch: int, rounds: int,
) -> list[list[str]]:  # fmt: skip
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    found: dict[str, Rows] = {}
    speeds: dict[str, list[float]] = {name: [] for name in kinds}
    for run, _ in kinds.values():
        run([rows[row] for row in order[:batch]])  # what is made at the first call is not timed
    for _ in range(rounds):
        for name, (run, _) in kinds.items():
            answers, started = [], time.perf_counter()
            for first in range(0, len(order), batch):
                answers += run([rows[row] for row in order[first : first + batch]])
            seconds = time.perf_counter() - started
            found[name] = answers
            speeds[name].append(sum(len(each) + 1 for each in answers) / seconds)
    wanted = found["antiphon float32"]
    sorted_references = [references[row] for row in order] if references else []
    return [
        _line(name, batch, speeds[name], found[name], wanted, sorted_references, model, kinds[name][1])
        for name in kinds
    ]


def _line(name: str, batch: int, speeds: list[float], answers: Rows, wanted: Rows, references: Sequence[str],
          model: Any, size: float) -> list[str]:  # fmt: skip
    equal = sum(own == theirs for own, theirs in zip(answers, wanted, strict=True)) / len(wanted)
    scores = ["-", "-"]
    if references:
        texts = [model.target_tokenizer.decode(ids) for ids in answers]
        metrics = measure(texts, [[text] for text in references], ["bleu", "exact_match"])
        scores = [f"{metrics[metric].score:.1f}" for metric in ("bleu", "exact_match")]
    figures = (statistics.median(speeds), min(speeds), max(speeds))
    return [name, str(batch), *(f"{each:.0f}" for each in figures), f"{100 * equal:.1f} %", *scores, f"{size:.1f}"]


if __name__ == "__main__":
    main()
