"""What minimum-Bayes-risk decoding gives and costs beside a beam search, on a test set.

    python benchmarks/reranking.py runs/multi30k --source val.en.gz --target val.de.gz --lines 200 --metrics bleu,chrf

A row of Markdown for each way to decode: the metrics of its answers, the seconds, and the pairs that were scored.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import antiphon
from antiphon.evaluation.metrics import measure, parse_metrics
from antiphon.evaluation.reranking import Reranker
from antiphon.evaluation.test_set import from_files


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Beam search, and reranking of n best and of samples, on a test set.")
    parser.add_argument("model", help="a run or model folder")
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--lines", type=int, default=200, help="lines at equal distances")
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--metrics", default="bleu,chrf", help="of the table; also what reranks")
    asked = parser.parse_args(arguments)
    model = antiphon.load(asked.model, device="cpu")
    examples = from_files(asked.source, [asked.target])
    count = min(asked.lines, len(examples))
    examples = [examples[place * len(examples) // count] for place in range(count)]
    sources, references = [one.source or "" for one in examples], [list(one.references) for one in examples]
    metrics = parse_metrics(asked.metrics.split(","))
    names = [metric.name for metric in metrics]
    print(f"| decoding | {' | '.join(names)} | seconds generating | seconds scoring | scored pairs |")
    print("|---" * (len(names) + 4) + "|")

    def row(title: str, answers: Sequence[antiphon.Generation], *costs: str) -> None:
        scores = measure([answer.text for answer in answers], references, metrics, sources)
        print(f"| {title} | {' | '.join(f'{scores[name].score:.2f}' for name in names)} | {' | '.join(costs)} |")
        sys.stdout.flush()

    began = time.perf_counter()
    plain = model.generate(sources)
    row(f"beam {model.generation.beam_size}", plain, f"{time.perf_counter() - began:.0f}", "", "")
    kinds = {"n best": {}, "samples": {"temperature": 1.0}, "samples at 0.5": {"temperature": 0.5}}
    for kind, search in kinds.items():
        for metric in metrics:
            reranker = Reranker(model, metric, candidates=asked.candidates)
            found = reranker.generate(sources, **search)
            cost = found.cost
            figures = f"{cost.generate_seconds:.0f}", f"{cost.score_seconds:.1f}", f"{cost.calls:,}"
            row(f"{asked.candidates} {kind}, {metric.name}", found, *figures)


if __name__ == "__main__":
    main()
