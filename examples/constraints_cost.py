"""What exact constraints cost: the time and the BLEU of answers with required words, and with a forbidden one.

With 0, 1 and 2 words of each reference required, BLEU rises, since the words are right; what the constraint costs is
seen in the time, in the length, and in answers that run into their limit. The last line forbids in each answer a word
of the model's own first answer. `missing` and `found` must be 0: they are counted in the texts, as whole words.

    python examples/constraints_cost.py runs/multi30k test.en test.de --tokenize none --lines 200
"""

from __future__ import annotations

import argparse
import gzip
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sacrebleu

import antiphon

SHORTEST = 5  # characters of a word that is required or forbidden: shorter ones are in most answers anyway
WARM_UP = 8  # lines that are answered before the clock is started

Phrases = Sequence[Sequence[str]]  # those of each line


def draw(references: Sequence[str], *, most: int, seed: int) -> list[list[str]]:
    """Up to `most` different words of each reference, in the order drawn."""
    dice = random.Random(seed)
    words = [long_words(reference) for reference in references]
    return [dice.sample(own, min(most, len(own))) for own in words]


def long_words(text: str) -> list[str]:
    """The words of a text that have enough letters, each once, sorted."""
    return sorted({word for word in re.findall(r"\w+", text) if len(word) >= SHORTEST})


def holds(text: str, word: str) -> bool:
    """Whether a word stands in a text as a whole."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def count(texts: Sequence[str], phrases: Phrases, *, present: bool) -> int:
    """How many phrases stand in the texts that they belong to, or do not."""
    return sum(holds(text, phrase) is present for text, own in zip(texts, phrases, strict=True) for phrase in own)


def timed(answer: Callable[[], list[antiphon.Generation]]) -> tuple[float, list[antiphon.Generation]]:
    """Seconds, and the answers."""
    started = time.perf_counter()
    answers = answer()
    return time.perf_counter() - started, answers


def measure(
    model: antiphon.Model,
    sources: Sequence[str],
    references: Sequence[str],
    *,
    beam_size: int,
    tokenize: str,
    seed: int,
) -> list[str]:
    """The table, a line for 0, 1 and 2 required words and for one that is forbidden."""

    def line(title: str, fault: str, phrases: Phrases, **settings: Any) -> tuple[str, list[str]]:
        seconds, answers = timed(lambda: model.generate(sources, beam_size=beam_size, **settings))
        texts = [answer.text for answer in answers]
        bleu = sacrebleu.corpus_bleu(texts, [list(references)], tokenize=tokenize, force=True).score
        length = sum(len(text.split()) for text in texts) / max(1, sum(len(text.split()) for text in references))
        unfinished = sum(not answer.finished for answer in answers)
        faults = f"{fault} {count(texts, phrases, present=fault == 'found')} of {sum(map(len, phrases))}"
        return (
            f"{title:<12} {seconds:7.1f} s  BLEU {bleu:5.2f}  length {length:.3f}  unfinished {unfinished}  {faults}"
        ), texts

    model.generate(sources[:WARM_UP], beam_size=beam_size)
    picked = draw(references, most=2, seed=seed)
    first, texts = line("required 0", "missing", [[]] * len(sources))
    table = [first]
    for most in (1, 2):
        phrases = [words[:most] for words in picked]
        table.append(line(f"required {most}", "missing", phrases, required=phrases)[0])
    phrases = [long_words(text)[:1] for text in texts]
    return [*table, line("forbidden 1", "found", phrases, forbidden=phrases)[0]]


def lines(file: str, most: int) -> list[str]:
    """The first lines of a text file, which may be gzipped."""
    opened = gzip.open if file.endswith(".gz") else open
    with opened(Path(file), "rt", encoding="utf-8", newline="\n") as stream:
        return [line.rstrip("\n") for line, _ in zip(stream, range(most), strict=False)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="What required and forbidden words cost in time and BLEU.")
    parser.add_argument("model", help="a run folder or a model folder")
    parser.add_argument("source", help="lines to answer")
    parser.add_argument("target", help="their references, from which the required words are drawn")
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the words that are drawn")
    parser.add_argument("--tokenize", default="13a", help="of sacrebleu; none for texts that are tokenized")
    asked = parser.parse_args(arguments)
    sources, references = (lines(file, asked.lines) for file in (asked.source, asked.target))
    if len(sources) != len(references) or not sources:
        parser.error(f"source and target must have the same lines, but have {len(sources)} and {len(references)}")
    model = antiphon.load(asked.model)
    for line in measure(
        model, sources, references, beam_size=asked.beam_size, tokenize=asked.tokenize, seed=asked.seed
    ):
        print(line, flush=True)


if __name__ == "__main__":
    main()
