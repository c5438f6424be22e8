r"""Metrics of classification: accuracy, macro F1, and the confusion matrix.

The known labels are the setting `labels`, else those of the references. An answer that is not a known label is wrong,
counts for no label, and is listed separately. If an answer has several references, its label is the one that equals the
answer, else the first. Example:

>>> round(macro_f1(["good", "good", "bad"], [["good"], ["bad"], ["bad"]]).score, 2)
66.67
>>> print(confusion(["good", "good", "bad"], [["good"], ["bad"], ["bad"]]).table)
reference \ answer     bad   good  recall
bad                      1      1   50.00
good                     0      1  100.00
precision           100.00  50.00
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.result import MetricResult, References, count_of, ratio
from antiphon.evaluation.sums import macro_f1_scores
from antiphon.registry import register

if TYPE_CHECKING:
    import numpy as np

MAX_TABLE_LABELS, MAX_LABEL_CHARACTERS = 20, 24  # in the printed confusion matrix


@register("metric", "accuracy")
def accuracy(hypotheses: Sequence[str], references: References) -> MetricResult:
    """The percentage of answers that equal their label."""
    hits = [(float(answer in row), 1.0) for answer, row in zip(hypotheses, references, strict=True)]
    return ratio(hits, count_of(references))


@register("metric", "macro_f1")
def macro_f1(hypotheses: Sequence[str], references: References, *, labels: Sequence[str] = ()) -> MetricResult:
    """The unweighted mean of the labels' F1, in percent.

    The F1 of a label is 2 tp / (its references + its answers); the mean is over the known labels that occur as a
    reference or an answer. (It is the mean of F1 scores, not the F1 of mean precision and recall: Opitz and Burst 2019,
    "Macro F1 and Macro F1", equation 1.) `details` has precision, recall and F1 of each label.
    """
    found = _Sorted.of(hypotheses, references, labels)
    signature = f"{count_of(references)}|labels:{len(found.labels)}|average:macro"
    return MetricResult(
        _mean_f1(found.total),
        signature,
        found.statistics,
        _mean_f1,
        details=found.details,
        many_scores_of=macro_f1_scores,
    )


@register("metric", "confusion")
def confusion(hypotheses: Sequence[str], references: References, *, labels: Sequence[str] = ()) -> MetricResult:
    """The confusion matrix, as a table; the score is the accuracy."""
    found = _Sorted.of(hypotheses, references, labels)
    signature = f"{count_of(references)}|labels:{len(found.labels)}|score:accuracy"
    hits = [(float(gold == answer), 1.0) for gold, answer in zip(found.gold, found.answers, strict=True)]
    return ratio(hits, signature, details=found.details, table=found.table())


def _mean_f1(total: Any) -> float:
    """100 times the mean F1 of labels, from a concatenation of their hits, references and answers."""
    import numpy as np  # sacrebleu brings it

    return float(macro_f1_scores(np.asarray(total)[None])[0])


@dataclass(frozen=True)
class _Sorted:
    """The label and the answer of each segment, among the known labels."""

    labels: list[str]
    gold: list[str]
    answers: list[str]

    @classmethod
    def of(cls, hypotheses: Sequence[str], references: References, labels: Sequence[str]) -> _Sorted:
        """Raise DataError for a reference that is not in `labels`."""
        if isinstance(labels, str):
            raise ConfigError(f"`labels` must be a list of labels, but is the text `{labels}`. Write [{labels}].")
        gold = [answer if answer in row else row[0] for answer, row in zip(hypotheses, references, strict=True)]
        known = [str(label) for label in labels] or sorted(set(gold))
        for number, label in enumerate(gold, 1):
            if label not in known:
                raise DataError(
                    f"a reference must be one of the {len(known)} `labels`, but that of answer {number} is "
                    f"`{label:.60}`. Add it, or leave `labels` out."
                )
        return cls(known, gold, list(hypotheses))

    @cached_property
    def counts(self) -> Counter[tuple[str, str]]:
        """The number of occurrences of each (label, answer)."""
        return Counter(zip(self.gold, self.answers, strict=True))

    @cached_property
    def unknown(self) -> Counter[str]:
        """The answers that are not known labels, with counts."""
        known = set(self.labels)
        return Counter(answer for answer in self.answers if answer not in known)

    @cached_property
    def statistics(self) -> list[list[float]]:
        """For each segment, 0 or 1 for each label: was it hit, was it the reference, was it the answer.

        (segments, 3 x labels)
        """
        places, size = {label: place for place, label in enumerate(self.labels)}, len(self.labels)
        rows = []
        for gold, answer in zip(self.gold, self.answers, strict=True):
            row = [0.0] * (3 * size)
            row[size + places[gold]] = 1.0
            if answer in places:
                row[2 * size + places[answer]] = 1.0
                row[places[answer]] = float(gold == answer)
            rows.append(row)
        return rows

    @property
    def total(self) -> np.ndarray:
        """The sum of the statistics: (3 x labels,)."""
        import numpy as np  # sacrebleu brings it

        return np.asarray(self.statistics).sum(0)

    @property
    def details(self) -> dict[str, Any]:
        """The figures of each label, the confusion matrix with references as rows, and unknown answers."""
        hits, gold, answered = self.total.reshape(3, -1).tolist()
        figures = {
            label: {
                "precision": _share(hits[place], answered[place]),
                "recall": _share(hits[place], gold[place]),
                "f1": _share(2 * hits[place], gold[place] + answered[place]),
                "references": int(gold[place]),
                "answers": int(answered[place]),
            }
            for place, label in enumerate(self.labels)
        }
        return {
            "labels": self.labels,
            "counts": [[self.counts[one, other] for other in self.labels] for one in self.labels],
            "per_label": figures,
            "unknown_answers": dict(self.unknown.most_common()),
        }

    def table(self) -> str:
        """The confusion matrix as text: references are rows, answers columns. If there are many labels, only those with
        the most references."""
        golds = Counter(self.gold)
        shown, others = self.labels, f"({len(self.labels) - MAX_TABLE_LABELS} others)"
        if len(shown) > MAX_TABLE_LABELS:
            most = {label for label, _ in golds.most_common(MAX_TABLE_LABELS)}
            shown = [label for label in self.labels if label in most]
        kept, known = set(shown), set(self.labels)

        def column(answer: str) -> str:
            return answer if answer in kept else others if answer in known else "(no label)"

        cells: Counter[tuple[str, str]] = Counter()
        for (gold, answer), count in self.counts.items():
            cells[gold if gold in kept else others, column(answer)] += count
        rest = [name for name in (others, "(no label)") if any(pair[1] == name for pair in cells)]
        rows = [*shown, *([others] if any(pair[0] == others for pair in cells) else [])]
        columns = [*shown, *rest]
        figures = self.details["per_label"]
        lines = [["reference \\ answer", *map(_cut, columns), "recall"]]
        for row in rows:
            recall = f"{figures[row]['recall']:.2f}" if row in figures else ""
            lines.append([_cut(row), *(str(cells[row, name]) for name in columns), recall])
        lines.append(["precision", *(f"{figures[name]['precision']:.2f}" for name in shown)])
        if self.unknown:
            told = ", ".join(f"`{_cut(text)}` ({count})" for text, count in self.unknown.most_common(5))
            more = ", …" if len(self.unknown) > 5 else ""
            lines.append([f"No known label: {self.unknown.total()} of {len(self.gold)} answers, {told}{more}"])
        return _aligned(lines)


def _share(part: float, whole: float) -> float:
    """A percentage; 0 if `whole` is 0."""
    return 100.0 * part / whole if whole else 0.0


def _cut(label: str) -> str:
    flat = " ".join(label.split()) or "(empty)"
    return flat if len(flat) <= MAX_LABEL_CHARACTERS else flat[: MAX_LABEL_CHARACTERS - 1] + "…"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Align cells in columns: the first to the left, the others to the right."""
    full = [row for row in rows if len(row) > 1]  # rows of one cell are not aligned
    widths = [max(len(row[place]) for row in full if place < len(row)) for place in range(max(map(len, full)))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)
