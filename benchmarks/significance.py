"""Do the tests of `antiphon compare` find differences where there are some, and none where there are none?

    python benchmarks/significance.py size            # 1,000 pairs of equal systems: the share with p < 0.05
    python benchmarks/significance.py power           # systems that differ: how often that is shown, by segments
    python benchmarks/significance.py sacrebleu       # p-values beside those of sacreBLEU's PairedTest
    python benchmarks/significance.py speed           # seconds of 10 systems on 3,004 segments

Outputs are those of WMT 2017 English to German ($ANTIPHON_DATA/metrics-reference/wmt17-en-de, default ../shared/data).
Equal systems are made of two: the answers of each segment are swapped by the toss of a coin, so that neither is better
but by chance. Each pair has other systems, segments, tosses, and another seed of the test.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from antiphon.evaluation.comparing.resampling import bootstrap_p, bootstrap_scores, randomisation_p, sacrebleu_p
from antiphon.evaluation.metrics import measure
from antiphon.evaluation.result import MetricResult

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("ANTIPHON_DATA", ROOT.parent / "shared" / "data")) / "metrics-reference" / "wmt17-en-de"
TESTS = ("randomisation", "bootstrap", "sacrebleu_bootstrap")
SIZES = (250, 500, 1000, 2000)
SLOW = {"ter": 4}  # systems whose TER is computed: it takes minutes for each


def lines(name: str) -> list[str]:
    """The lines of a file of the folder."""
    with gzip.open(FOLDER / f"{name}.de.gz", "rt", encoding="utf-8", newline="\n") as file:
        return file.read().removesuffix("\n").split("\n")


def systems() -> list[str]:
    """The names of the systems."""
    return sorted(file.name.removesuffix(".de.gz") for file in FOLDER.glob("*.de.gz") if "reference" not in file.name)


def results(metric: str, names: Sequence[str], segments: int | None = None) -> list[MetricResult]:
    """The result of each system, with the statistics of each segment."""
    references = [[line] for line in lines("reference")[:segments]]
    return [measure(lines(name)[:segments], references, [metric])[metric] for name in names]


def on_rows(result: MetricResult, table: np.ndarray) -> MetricResult:
    """The result that has the rows of `table` as its statistics."""
    return replace(result, score=float(result.scores(table.sum(0)[None])[0]), statistics=table)


def p_values(pair: Sequence[MetricResult], *, samples: int, seed: int) -> dict[str, float]:
    """The p-value of each test."""
    exchanged = randomisation_p(pair, trials=samples, seed=seed, ties=False)
    scores = bootstrap_scores(pair, samples=samples, seed=seed)
    apart, measured = scores[1] - scores[0], pair[1].score - pair[0].score
    assert exchanged is not None
    figures = (exchanged[0, 1], bootstrap_p(apart, measured), sacrebleu_p(apart, measured))
    return dict(zip(TESTS, figures, strict=True))


def size(each: Sequence[MetricResult], *, pairs: int, segments: int, samples: int) -> dict[str, float]:
    """The share of pairs of equal systems for which each test has p < 0.05."""
    tables = [np.asarray(result.statistics, dtype=np.float64) for result in each]
    draw = np.random.default_rng(1)
    found: dict[str, int] = dict.fromkeys(TESTS, 0)
    for number in range(pairs):
        one, other = draw.choice(len(tables), 2, replace=False)
        chosen = draw.choice(len(tables[0]), min(segments, len(tables[0])), replace=False)
        swapped = draw.random(len(chosen))[:, None] < 0.5
        left, right = tables[one][chosen], tables[other][chosen]
        pair = [on_rows(each[0], np.where(swapped, *both)) for both in ((left, right), (right, left))]
        for test, p in p_values(pair, samples=samples, seed=number).items():
            found[test] += p < 0.05
    return {test: count / pairs for test, count in found.items()}


def power(each: Sequence[MetricResult], *, sets: int, samples: int) -> list[dict[str, float]]:
    """For pairs that differ little to much on the whole set: how often that is shown on parts of it."""
    tables = [np.asarray(result.statistics, dtype=np.float64) for result in each]
    by_difference = sorted(
        (abs(each[i].score - each[j].score), i, j) for i in range(len(each)) for j in range(i + 1, len(each))
    )
    rows = []
    for wanted in (0.5, 1.0, 1.5, 2.0, 4.0):
        gap, one, other = min(by_difference, key=lambda row: abs(row[0] - wanted))
        row = {"difference": round(gap, 2)}
        for segments in SIZES:
            draw, shown = np.random.default_rng(2), 0
            for number in range(sets):
                chosen = draw.choice(len(tables[0]), segments, replace=False)
                pair = [on_rows(each[0], tables[place][chosen]) for place in (one, other)]
                exchanged = randomisation_p(pair, trials=samples, seed=number, ties=False)
                assert exchanged is not None
                right = (pair[1].score > pair[0].score) == (each[other].score > each[one].score)
                shown += exchanged[0, 1] < 0.05 and right
            row[f"{segments}"] = shown / sets
        rows.append(row)
    return rows


def beside_sacrebleu(names: Sequence[str], *, segments: int, samples: int) -> list[dict[str, object]]:
    """The p-values of both for the first system with each other one."""
    from sacrebleu.metrics import BLEU, CHRF, TER
    from sacrebleu.significance import PairedTest

    references, rows = lines("reference")[:segments], []
    for name, theirs in (("bleu", BLEU()), ("chrf", CHRF()), ("ter", TER())):
        own = results(name, names, segments)
        exchanged = randomisation_p(own, trials=samples, ties=False)
        scores = bootstrap_scores(own, samples=samples)
        assert exchanged is not None
        outputs: list[tuple[str, Sequence[str]]] = [(each, lines(each)[:segments]) for each in names]
        for kind in ("ar", "bs"):
            _, found = PairedTest(outputs, {name: theirs}, [references], test_type=kind, n_samples=samples)()
            [values] = [value for key, value in found.items() if key != "System"]
            for place in range(1, len(names)):
                apart, measured = scores[place] - scores[0], own[place].score - own[0].score
                p = exchanged[0, place] if kind == "ar" else sacrebleu_p(apart, measured)
                theirs_p = values[place].p_value  # pyright: ignore[reportAttributeAccessIssue]
                rows.append({"metric": name, "test": kind, "system": names[place], "ours": p, "sacrebleu": theirs_p})
    return rows


def speed(names: Sequence[str]) -> dict[str, float]:
    """Seconds of each part for 10 systems: statistics, 1,000 samples, 10,000 trials of all 45 pairs."""
    found = {}
    for metric in ("bleu", "chrf"):
        began = time.perf_counter()
        each = results(metric, names[:10])
        found[f"{metric} statistics"] = time.perf_counter() - began
        began = time.perf_counter()
        bootstrap_scores(each)
        found[f"{metric} bootstrap"] = time.perf_counter() - began
        began = time.perf_counter()
        randomisation_p(each)
        found[f"{metric} randomisation"] = time.perf_counter() - began
    return {name: round(seconds, 2) for name, seconds in found.items()}


def main() -> None:
    """Print a JSON object a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["size", "power", "sacrebleu", "speed"])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--segments", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--metrics", default="bleu,chrf,ter")
    given = parser.parse_args()
    if given.what == "speed":
        print(json.dumps(speed(systems())))
    elif given.what == "sacrebleu":
        for row in beside_sacrebleu(systems()[:6], segments=given.segments, samples=given.samples):
            print(json.dumps(row))
    for metric in given.metrics.split(",") if given.what in ("size", "power") else ():
        each = results(metric, systems()[: SLOW.get(metric)])
        if given.what == "size":
            shares = size(each, pairs=given.pairs, segments=given.segments, samples=given.samples)
            print(json.dumps({"metric": metric, "pairs": given.pairs, **shares}), flush=True)
        else:
            for row in power(each, sets=200, samples=given.samples):
                print(json.dumps({"metric": metric, **row}), flush=True)


if __name__ == "__main__":
    main()
