"""How faithful are the methods of `antiphon explain`? The deletion test on the validation data of trained runs.

    python benchmarks/explain.py runs/demo runs/sst2 runs/g2p --limit 100

A row for each run and method: the mean gain of comprehensiveness over random order with its 95 % interval, and the
figures of docs/explaining.md. The examples are taken at equal distances; answers are the model's own, by greedy search.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import antiphon
from antiphon.evaluation.explain import METHODS, faithfulness_of
from antiphon.evaluation.explain.terminal import table_lines
from antiphon.evaluation.test_set import from_tables, table, task_of
from antiphon.generation.translator import Translator
from antiphon.recipe import read_yaml
from antiphon.text.phrases import phrases


def sources_of(run: Path, model: Translator) -> list[str]:
    """The sources of the run's validation data; of a run on Python data, those of the demo's phrases."""
    data = read_yaml((run / "config.yaml").read_text(encoding="utf-8"), "config.yaml")[0]["data"]
    if isinstance(data["valid"], str):
        return [source for source, _ in phrases("en", "de").valid]
    examples = from_tables(table(json.dumps(data["valid"])), task_of(model))
    return [example.source for example in examples if example.source]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The deletion test of each method on the validation data of runs.")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--limit", type=int, default=100, help="sources of each run")
    asked = parser.parse_args(arguments)
    for run in asked.runs:
        model = antiphon.load(run, device="cpu")
        sources = sources_of(run, model)
        count = min(asked.limit, len(sources))
        chosen = [sources[place * len(sources) // count] for place in range(count)]
        began = time.perf_counter()
        tests = faithfulness_of(model, chosen, methods=METHODS, beam_size=1)
        first = next(iter(tests.values()))
        took = time.perf_counter() - began
        print(f"\n{run.name}: {len(first.tests)} answers, {took:.0f} s, {sum(first.incomplete)} not complete\n")
        for line in table_lines(tests):
            print(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
