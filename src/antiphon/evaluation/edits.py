"""Metrics of edit distance: the insertions, deletions and substitutions between an answer and its reference.

| metric        | counts                                                             | name in papers             |
|---------------|--------------------------------------------------------------------|----------------------------|
| `wer`         | edits of words (split at white space), over the reference's words  | WER, in speech recognition |
| `cer`         | edits of characters (code points, spaces too), over its characters | CER                        |
| `per`         | edits of phones (split at white space), over its phones            | PER                        |
| `exact_match` | answers that equal a reference                                     | exact match, accuracy      |
| `error_rate`  | answers that do not: 100 - exact_match                             | SER; **WER in g2p tasks**  |

(In SIGMORPHON's pronunciation tasks an answer is the phones of one word, so a wrong word is a wrong answer.) All are
percentages over the whole corpus (edits and lengths are summed before the division); wer, cer and per may exceed 100.
If an answer has several references, the one with the lowest rate counts. Example:

>>> round(per(["a b s ã"], [["a p s ã"]]).score, 1), error_rate(["a b s ã"], [["a p s ã"]]).score
(25.0, 100.0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from antiphon.evaluation.result import MetricResult, References, count_of, ratio
from antiphon.registry import register


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """The minimum number of insertions, deletions and substitutions of units that turn `one` into `other`.

    Levenshtein's distance (1966) by bit vectors (Myers 1999, in the form of Hyyrö 2003): a column of the dynamic
    programming table is two integers, with one bit a row, for +1 and -1 differences.
    """
    if not one or not other:
        return len(one) + len(other)
    places: dict[str, int] = {}  # unit -> bit vector of its positions in `one`
    for row, unit in enumerate(one):
        places[unit] = places.get(unit, 0) | 1 << row
    every, last = (1 << len(one)) - 1, 1 << len(one) - 1
    rises, falls, distance = every, 0, len(one)
    for unit in other:
        equal = places.get(unit, 0)
        diagonal = ((((equal & rises) + rises) ^ rises) | equal | falls) & every
        right_rises = falls | (every & ~(diagonal | rises))
        right_falls = rises & diagonal
        distance += bool(right_rises & last) - bool(right_falls & last)
        right_rises = (right_rises << 1 | 1) & every  # the first row counts the columns, so it rises at each
        rises = (right_falls << 1 & every) | (every & ~(diagonal | right_rises))
        falls = right_rises & diagonal
    return distance


@register("metric", "wer")
def wer(hypotheses: Sequence[str], references: References, *, lowercase: bool = False) -> MetricResult:
    """Word error rate: edits of space-separated words over the words of the references, in percent."""
    return _rate(hypotheses, references, str.split, "unit:word", lowercase=lowercase)


@register("metric", "cer")
def cer(hypotheses: Sequence[str], references: References, *, lowercase: bool = False) -> MetricResult:
    """Character error rate: edits of code points, spaces too, over the characters of the references, in percent."""
    return _rate(hypotheses, references, list, "unit:character", lowercase=lowercase)


@register("metric", "per")
def per(hypotheses: Sequence[str], references: References) -> MetricResult:
    """Phone error rate: edits of space-separated phones over the phones of the references, in percent."""
    return _rate(hypotheses, references, str.split, "unit:phone", lowercase=False)


@register("metric", "exact_match")
def exact_match(hypotheses: Sequence[str], references: References, *, lowercase: bool = False) -> MetricResult:
    """The percentage of answers that equal one of their references exactly."""
    hits = [(float(hit), 1.0) for hit in _hits(hypotheses, references, lowercase=lowercase)]
    return ratio(hits, _signature(references, lowercase=lowercase))


@register("metric", "error_rate")
def error_rate(hypotheses: Sequence[str], references: References, *, lowercase: bool = False) -> MetricResult:
    """The percentage of answers with any error: 100 - exact_match. Called WER in papers on pronunciation."""
    misses = [(float(not hit), 1.0) for hit in _hits(hypotheses, references, lowercase=lowercase)]
    return ratio(misses, _signature(references, lowercase=lowercase), lower_is_better=True)


def _hits(hypotheses: Sequence[str], references: References, *, lowercase: bool) -> list[bool]:
    return [
        _form(answer, lowercase) in (_form(reference, lowercase) for reference in row)
        for answer, row in zip(hypotheses, references, strict=True)
    ]


def _rate(
    hypotheses: Sequence[str],
    references: References,
    units: Callable[[str], list[str]],
    unit: str,
    *,
    lowercase: bool,
) -> MetricResult:
    parts: list[tuple[float, float]] = []
    for answer, row in zip(hypotheses, references, strict=True):
        said = units(_form(answer, lowercase))
        wanted = [units(_form(reference, lowercase)) for reference in row]
        counts = [(float(edit_distance(said, reference)), float(len(reference))) for reference in wanted]
        parts.append(min(counts, key=lambda count: count[0] / max(count[1], 1.0)))
    # For empty references, the length is taken as one unit, to avoid a division by zero.
    if not any(length for _, length in parts):
        parts[0] = (parts[0][0], 1.0)
    return ratio(parts, f"{_signature(references, lowercase=lowercase)}|{unit}", lower_is_better=True)


def _form(text: str, lowercase: bool) -> str:
    return text.lower() if lowercase else text


def _signature(references: References, *, lowercase: bool) -> str:
    return f"{count_of(references)}|case:{'lc' if lowercase else 'mixed'}"
