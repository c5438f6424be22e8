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
If an answer has several references, the one with the lowest rate counts. `normalize` lists what is applied to both
sides first (normalization.py), for example [lower, punctuation]. Example:

>>> round(per(["a b s ã"], [["a p s ã"]]).score, 1), error_rate(["a b s ã"], [["a p s ã"]]).score
(25.0, 100.0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from antiphon.evaluation.normalization import SEPARATOR, normalizer, normalizer_names
from antiphon.evaluation.result import MetricResult, References, count_of, ratio
from antiphon.registry import register

Names = Sequence[str] | str  # a setting `normalize`


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


class Form:
    """The form of a text in which errors are counted: with `lowercase`, then by the normalisers that `normalize`
    names."""

    def __init__(self, normalize: Names, *, lowercase: bool = False) -> None:
        self.names, self.lowercase = normalizer_names(normalize), lowercase
        self.normalize = normalizer(self.names)

    def __call__(self, text: str) -> str:
        return self.normalize(text.lower() if self.lowercase else text)

    def signature(self, references: References) -> str:
        case = "lc" if self.lowercase or "lower" in self.names else "mixed"
        normalized = f"|norm:{SEPARATOR.join(self.names)}" if self.names else ""
        return f"{count_of(references)}|case:{case}{normalized}"


@register("metric", "wer")
def wer(
    hypotheses: Sequence[str], references: References, *, lowercase: bool = False, normalize: Names = ()
) -> MetricResult:
    """Word error rate: edits of space-separated words over the words of the references, in percent."""
    return _rate(hypotheses, references, str.split, "unit:word", Form(normalize, lowercase=lowercase))


@register("metric", "cer")
def cer(
    hypotheses: Sequence[str], references: References, *, lowercase: bool = False, normalize: Names = ()
) -> MetricResult:
    """Character error rate: edits of code points, spaces too, over the characters of the references, in percent."""
    return _rate(hypotheses, references, list, "unit:character", Form(normalize, lowercase=lowercase))


@register("metric", "per")
def per(hypotheses: Sequence[str], references: References) -> MetricResult:
    """Phone error rate: edits of space-separated phones over the phones of the references, in percent."""
    return _rate(hypotheses, references, str.split, "unit:phone", Form(()))


@register("metric", "exact_match")
def exact_match(
    hypotheses: Sequence[str], references: References, *, lowercase: bool = False, normalize: Names = ()
) -> MetricResult:
    """The percentage of answers that equal one of their references exactly."""
    form = Form(normalize, lowercase=lowercase)
    hits = [(float(hit), 1.0) for hit in _hits(hypotheses, references, form)]
    return ratio(hits, form.signature(references))


@register("metric", "error_rate")
def error_rate(
    hypotheses: Sequence[str], references: References, *, lowercase: bool = False, normalize: Names = ()
) -> MetricResult:
    """The percentage of answers with any error: 100 - exact_match. Called WER in papers on pronunciation."""
    form = Form(normalize, lowercase=lowercase)
    misses = [(float(not hit), 1.0) for hit in _hits(hypotheses, references, form)]
    return ratio(misses, form.signature(references), lower_is_better=True)


def _hits(hypotheses: Sequence[str], references: References, form: Form) -> list[bool]:
    return [
        form(answer) in (form(reference) for reference in row)
        for answer, row in zip(hypotheses, references, strict=True)
    ]


def _rate(
    hypotheses: Sequence[str], references: References, units: Callable[[str], list[str]], unit: str, form: Form
) -> MetricResult:
    parts: list[tuple[float, float]] = []
    for answer, row in zip(hypotheses, references, strict=True):
        answered = units(form(answer))
        wanted = [units(form(reference)) for reference in row]
        counts = [(float(edit_distance(answered, reference)), float(len(reference))) for reference in wanted]
        parts.append(min(counts, key=lambda count: count[0] / max(count[1], 1.0)))
    # For empty references, the length is taken as one unit, to avoid a division by zero.
    if not any(length for _, length in parts):
        parts[0] = (parts[0][0], 1.0)
    return ratio(parts, f"{form.signature(references)}|{unit}", lower_is_better=True)
