"""The scores of all pairs of candidates: each candidate as an answer, each as its reference.

    pairwise(chrf, [["a b", "a c"]], ["x"])     # one matrix (N, N) for each input: row answer, column reference

chrF and BLEU count the n-grams of each text once, and their overlaps of all pairs at once; they equal sacreBLEU's
sentence scores (tests compare them). Every other metric is called once for all pairs of all inputs. Shapes: N texts, G
different n-grams of one length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from antiphon.evaluation.metrics import Metric
from antiphon.evaluation.segments import scores_of
from antiphon.evaluation.translation import bleu, chrf

if TYPE_CHECKING:
    import numpy as np

Counts = Mapping[Any, int]


def pairwise(metric: Metric, lists: Sequence[Sequence[str]], sources: Sequence[str]) -> list[np.ndarray]:
    """For each input the scores (N, N) of its texts, row answer, column reference; higher is better, so that metrics
    whose lower score is better are negated. `sources` has one for each input."""
    fast = {chrf: _chrf, bleu: _bleu}.get(metric.function)
    return _called(metric, lists, sources) if fast is None else [fast(metric.settings, texts) for texts in lists]


def _called(metric: Metric, lists: Sequence[Sequence[str]], sources: Sequence[str]) -> list[np.ndarray]:
    """The scores by one call of the metric."""
    import numpy as np

    rows = [
        (answer, [reference], source)
        for source, texts in zip(sources, lists, strict=True)
        for answer in texts
        for reference in texts
    ]
    if not rows:
        return [np.zeros((0, 0)) for _ in lists]
    answers, references, asked = map(list, zip(*rows, strict=True))
    result = metric(answers, references, asked)
    scores = np.asarray(scores_of(metric, result, answers, references, asked), dtype=np.float64)
    scores = -scores if result.lower_is_better else scores
    found, start = [], 0
    for texts in lists:
        count = len(texts)
        found.append(scores[start : start + count * count].reshape(count, count))
        start += count * count
    return found


def _chrf(settings: Mapping[str, Any], texts: Sequence[str]) -> np.ndarray:
    """Sentence chrF of all pairs."""
    import numpy as np
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF(**settings)
    tables = _tables([_chrf_counts(metric, text) for text in texts])
    beta = metric.beta**2
    hyp, ref, match = (np.stack([table[part] for table in tables]) for part in range(3))  # (order, N, N)
    hyp = np.where(ref > 0, hyp, 0)  # as sacreBLEU: no hits without an n-gram of the reference
    both = (hyp > 0) & (ref > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(hyp > 0, match / hyp, 1e-16)
        recall = np.where(ref > 0, match / ref, 1e-16)
        if metric.eps_smoothing:
            bottom = beta * precision + recall
            each = np.where(bottom > 0, (1 + beta) * precision * recall / bottom, 1e-16)
            return 100 * each.sum(0) / metric.order
        orders = np.maximum(both.sum(0), 1)
        p, r = (np.where(both, part, 0).sum(0) / orders for part in (precision, recall))
        return np.where(p + r > 0, 100 * (1 + beta) * p * r / (beta * p + r), 0.0)


def _chrf_counts(metric: Any, text: str) -> list[Counts]:
    """The n-grams of a text, one table for each length."""
    (info,) = metric._extract_reference_info([metric._preprocess_segment(text)])["ref_ngrams"]
    return info


def _bleu(settings: Mapping[str, Any], texts: Sequence[str]) -> np.ndarray:
    """Sentence BLEU of all pairs, by the effective order."""
    import numpy as np
    from sacrebleu.metrics.bleu import BLEU

    given = {name: value for name, value in settings.items() if name != "tokenize"}
    tokenizer = settings.get("tokenize") or "13a"
    metric = BLEU(**{**given, "tokenize": tokenizer, "effective_order": True, "force": True})
    infos = [metric._extract_reference_info([metric._preprocess_segment(text)]) for text in texts]
    lengths = [info["ref_lens"][0] for info in infos]
    order = metric.max_ngram_order
    counts = [
        [
            {ngram: n for ngram, n in info["ref_ngrams"].items() if len(ngram) == length}
            for length in range(1, order + 1)
        ]
        for info in infos
    ]
    tables = _tables(counts)
    found = np.empty((len(texts), len(texts)))
    for i, hyp in enumerate(lengths):
        for j, ref in enumerate(lengths):
            correct, total = [int(table[2][i, j]) for table in tables], [int(table[0][i, j]) for table in tables]
            found[i, j] = metric._compute_score_from_stats([hyp, ref, *correct, *total]).score
    return found


def _tables(counts: Sequence[Sequence[Counts]]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each length of n-grams three tables (N, N): the n-grams of the answer, those of the reference, and those in
    both. `counts` has the n-grams of each text, by length."""
    import numpy as np

    found = []
    for own in zip(*counts, strict=True):
        place: dict[Any, int] = {}
        for table in own:
            for ngram in table:
                place.setdefault(ngram, len(place))
        matrix = np.zeros((len(own), len(place)), dtype=np.int32)  # (N, G)
        for row, table in enumerate(own):
            for ngram, count in table.items():
                matrix[row, place[ngram]] = count
        sums = matrix.sum(1)
        match = np.stack([np.minimum(matrix, row).sum(1) for row in matrix]).astype(np.float64)
        hyp, ref = np.broadcast_arrays(sums[:, None].astype(np.float64), sums[None].astype(np.float64))
        found.append((hyp, ref, match))
    return found
