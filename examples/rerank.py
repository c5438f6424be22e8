"""Left-to-right and right-to-left reranking (Liu et al. 2016, "Agreement on Target-bidirectional Neural MT").

A second model, trained with `task: right_to_left`, reads the same sources and writes the answers' words from the last
to the first. The first model gives its n best answers, the second scores each, and the weight of the second one is the
best of a few on validation data. Both recipes differ in nothing but `task` and `output`:

    antiphon train recipe.yaml --output runs/ltr
    antiphon train recipe.yaml --task right_to_left --output runs/rtl
    python examples/rerank.py runs/ltr runs/rtl --valid val.en val.de --input test.en > test.out

With the weight that it prints, `antiphon generate runs/ltr --rerank runs/rtl --rerank-weight W` gives the same answers.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Sequence
from pathlib import Path

import sacrebleu

import antiphon
from antiphon.evaluation.reranking import mean_scores, n_best_candidates

WEIGHTS = tuple(i / 10 for i in range(11))
Entry = tuple[str, float, float]  # an answer, its score a token left to right, and right to left


def candidates(left: antiphon.Model, right: antiphon.Model, sources: Sequence[str], n_best: int) -> list[list[Entry]]:
    """The n best answers of `left` to each source, different texts only, with the mean log-probability of both."""
    lists = [each.texts for each in n_best_candidates(left, sources, n_best)]
    pairs = [(source, text) for source, texts in zip(sources, lists, strict=True) for text in texts]
    inputs, texts = [source for source, _ in pairs], [text for _, text in pairs]
    entries = zip(texts, mean_scores(left, inputs, texts), mean_scores(right, inputs, texts), strict=True)
    return [[next(entries) for _ in texts] for texts in lists]


def pick(entries: Sequence[Entry], weight: float) -> str:
    """The answer with the best weighted mean of both scores; of equals the one that came first."""
    return max(entries, key=lambda entry: (1 - weight) * entry[1] + weight * entry[2])[0]


def tune(lists: Sequence[Sequence[Entry]], references: Sequence[str], *, tokenize: str) -> tuple[float, list[float]]:
    """The weight with the best BLEU, the smallest of equal ones, and the BLEU of each of `WEIGHTS`."""
    scores = []
    for weight in WEIGHTS:
        picked = [pick(entries, weight) for entries in lists]
        scores.append(sacrebleu.corpus_bleu(picked, [list(references)], tokenize=tokenize, force=True).score)
    return WEIGHTS[scores.index(max(scores))], scores


def lines(file: str) -> list[str]:
    """The lines of a text file, which may be gzipped; - is standard input."""
    if file == "-":
        return [line.rstrip("\n") for line in sys.stdin]
    opened = gzip.open if file.endswith(".gz") else open
    with opened(Path(file), "rt", encoding="utf-8", newline="\n") as stream:
        return [line.rstrip("\n") for line in stream]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Answers of one model, chosen together with a right-to-left one.")
    parser.add_argument("left", help="the model folder that answers")
    parser.add_argument("right", help="the model folder trained with `task: right_to_left`")
    parser.add_argument("--valid", nargs=2, required=True, metavar=("SOURCE", "TARGET"), help="to choose the weight on")
    parser.add_argument("--input", default="-", help="lines to answer")
    parser.add_argument("--n-best", type=int, default=10)
    parser.add_argument("--tokenize", default="13a", help="of sacrebleu; none for texts that are tokenized")
    asked = parser.parse_args(arguments)
    left, right = antiphon.load(asked.left), antiphon.load(asked.right)
    sources, references = map(lines, asked.valid)
    weight, scores = tune(candidates(left, right, sources, asked.n_best), references, tokenize=asked.tokenize)
    for each, score in zip(WEIGHTS, scores, strict=True):
        print(f"right-to-left weight {each:.1f}: BLEU {score:.2f}{' <' if each == weight else ''}", file=sys.stderr)
    for entries in candidates(left, right, lines(asked.input), asked.n_best):
        print(pick(entries, weight))


if __name__ == "__main__":
    main()
