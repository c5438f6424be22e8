"""Is one system better than another on the same test set? A paired bootstrap over its examples.

    python benchmarks/paired.py FIRST.txt SECOND.txt --references REFERENCES.txt --metric rouge1
    python benchmarks/paired.py FIRST.txt SECOND.txt --references A.txt --references B.txt --metric bleu:tokenize=13a

Files of a line each example. Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation", section
3: sets are drawn from the test set with replacement, both systems are scored on each, and the share of sets on which
the one that is better on the whole is not better bounds the probability that its lead is chance. The number given is
(sets without a lead + 1) / (sets + 1), one-sided, so it is never 0; `interval` is that of the difference. Any metric of
`antiphon evaluate` whose score comes from sums over the examples. An exchange test besides asks the other question,
whether labels of the two systems are interchangeable (Riezler and Maxwell 2005, section 3): answers of each example
are swapped by the toss of a coin, and p is the share of tosses whose difference is at least as large, two-sided.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.evaluation.bootstrap import SEED, draws
from antiphon.evaluation.metrics import measure, parse_metrics
from antiphon.evaluation.result import MetricResult


@dataclass(frozen=True)
class Paired:
    """The scores of two systems, the interval of first - second, and how likely such a lead is by chance."""

    metric: str
    examples: int
    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    bootstrap_p: float
    exchange_p: float
    samples: int


def paired(
    first: Sequence[str],
    second: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    metric: str = "rouge1",
    samples: int = 10_000,
) -> Paired:
    """Compare the answers of two systems to the same examples. DataError where their numbers differ."""
    for name, found in (("second", second), ("references", references)):
        if len(found) != len(first):
            raise DataError(f"`{name}` must have {len(first)} lines, as `first` has, but has {len(found)}.")
    if len(first) < 2:
        raise DataError(f"a comparison needs at least 2 examples, but has {len(first)}.")
    parsed = parse_metrics([metric])
    results = [next(iter(measure(answers, references, parsed).values())) for answers in (first, second)]
    (left, score_of), (right, _) = map(_sums, results)
    sign = -1.0 if results[0].lower_is_better else 1.0

    def difference(a: Any, b: Any) -> float:
        return score_of(a) - score_of(b)

    whole = difference(left.sum(0), right.sum(0))
    drawn = np.array([difference(count @ left, count @ right) for count in draws(len(left), samples=samples)])
    leads = np.sign(whole) * drawn > 0
    low, high = np.percentile(drawn, [2.5, 97.5])
    generator, tosses, both = np.random.default_rng(SEED), 0, left.sum(0) + right.sum(0)
    for _ in range(samples):
        swapped = generator.random(len(left)) < 0.5
        one = np.where(swapped[:, None], right, left).sum(0)
        tosses += abs(difference(one, both - one)) >= abs(whole) - 1e-9
    return Paired(
        metric,
        len(left),
        results[0].score,
        results[1].score,
        sign * whole,
        (float(min(sign * low, sign * high)), float(max(sign * low, sign * high))),
        (int((~leads).sum()) + 1) / (samples + 1),
        (int(tosses) + 1) / (samples + 1),
        samples,
    )


def _sums(result: MetricResult) -> tuple[np.ndarray, Callable[[Any], float]]:
    """A row for each example, and the score of their sum."""
    if result.score_of is None:
        raise ConfigError("the metric must be a sum over the examples, but gives no statistics. Choose another.")
    return np.asarray(result.statistics, dtype=np.float64), result.score_of


def main(arguments: Sequence[str] | None = None) -> int:
    """The figures of the command line, as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--references", type=Path, action="append", required=True)
    parser.add_argument("--metric", default="rouge1")
    parser.add_argument("--samples", type=int, default=10_000)
    given = parser.parse_args(arguments)
    try:
        first, second, *others = (_lines(file) for file in (given.first, given.second, *given.references))
        if len({len(lines) for lines in others}) > 1:
            raise DataError(f"files of references must have equally many lines, but have {[len(o) for o in others]}.")
        rows = [list(row) for row in zip(*others, strict=True)]
        found = paired(first, second, rows, metric=given.metric, samples=given.samples)
    except AntiphonError as error:
        parser.error(str(error))
    print(json.dumps(asdict(found)))
    return 0


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"`{file}` must be a text file, but cannot be read ({error}).") from error


if __name__ == "__main__":
    raise SystemExit(main())
