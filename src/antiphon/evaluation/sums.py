"""Scores of many samples at once: each row of `sums` is the sum of the statistics of one sample's segments.

    bleu_scores(sums, order=4)        # (samples, 2 + 2 * order) -> (samples,)

The formulas are those of sacreBLEU 2.6.0, which computes one sample at a time; a test compares them. 10,000 samples of
45 pairs of systems would take its functions minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_LOG_OF_ZERO = -9999999999.0  # sacreBLEU's


def ratio_scores(sums: np.ndarray) -> np.ndarray:
    """Percentages of summed (part, whole): (samples, 2) -> (samples,); 0 where the whole is 0."""
    return 100.0 * _share(sums[:, 0], sums[:, 1])


def ter_scores(sums: np.ndarray) -> np.ndarray:
    """TER of summed (edits, words of the references); 100 for edits of empty references."""
    import numpy as np

    return np.where(sums[:, 1] > 0, ratio_scores(sums), np.where(sums[:, 0] > 0, 100.0, 0.0))


def bleu_scores(
    sums: np.ndarray,
    *,
    order: int = 4,
    smooth_method: str = "exp",
    smooth_value: float = 0.0,
    effective_order: bool = False,
) -> np.ndarray:
    """BLEU of summed statistics: lengths of answers and references, then matching and all n-grams of each order."""
    import numpy as np

    answered, wanted = sums[:, 0], sums[:, 1]
    hits, counts = sums[:, 2 : 2 + order], sums[:, 2 + order : 2 + 2 * order]
    samples = len(sums)
    logarithms, orders = np.zeros(samples), np.full(samples, float(order))
    going, halves = np.ones(samples, dtype=bool), np.ones(samples)  # until an order has no n-gram
    for place in range(order):
        added = smooth_value if smooth_method == "add-k" and place else 0.0
        hit, count = hits[:, place] + added, counts[:, place] + added
        going &= count != 0
        if effective_order:
            orders[going] = place + 1
        missed = hit == 0
        if smooth_method == "exp":
            halves = np.where(going & missed, 2 * halves, halves)
            hit = np.where(missed, 1 / halves, hit)
        elif smooth_method == "floor":
            hit = np.where(missed, smooth_value, hit)
        precision = 100.0 * _share(np.where(going, hit, 0.0), count)
        with np.errstate(divide="ignore"):
            logarithm = np.where(precision > 0, np.log(precision), _LOG_OF_ZERO)
        logarithms += np.where(going, logarithm, 0.0) if effective_order else logarithm
    short = np.exp(1 - _share(wanted, answered))
    brevity = np.where(answered < wanted, np.where(answered > 0, short, 0.0), 1.0)
    return np.where(hits.any(1) & (counts[:, 0] > 0), brevity * np.exp(logarithms / orders), 0.0)


def chrf_scores(sums: np.ndarray, *, beta: float = 2, eps_smoothing: bool = False) -> np.ndarray:
    """chrF of summed statistics: for each order the n-grams of answers, of references, and those in both."""
    import numpy as np

    answered, wanted, both = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    floor, factor = 1e-16, beta**2
    if eps_smoothing:
        precision = np.where(answered > 0, _share(both, answered), floor)
        recall = np.where(wanted > 0, _share(both, wanted), floor)
        below = factor * precision + recall
        each = np.where(below > 0, _share((1 + factor) * precision * recall, below), floor)
        return 100.0 * each.mean(1)
    there = (answered > 0) & (wanted > 0)
    orders = there.sum(1)
    precision = _share(np.where(there, _share(both, answered), 0.0).sum(1), orders)
    recall = _share(np.where(there, _share(both, wanted), 0.0).sum(1), orders)
    return 100.0 * _share((1 + factor) * precision * recall, factor * precision + recall)


def macro_f1_scores(sums: np.ndarray) -> np.ndarray:
    """The mean F1 of labels, from a concatenation of their hits, references and answers."""
    hits, gold, answered = sums.reshape(len(sums), 3, -1).swapaxes(0, 1)
    return 100.0 * _share(_share(2 * hits, gold + answered).sum(1), (gold + answered > 0).sum(1))


def _share(part: Any, whole: Any) -> np.ndarray:
    """part / whole; 0 where the whole is 0."""
    import numpy as np

    part, whole = np.broadcast_arrays(np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64))
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole != 0)
