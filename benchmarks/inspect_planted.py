"""Faults planted in real pairs, and what `antiphon inspect` finds of each kind: found, and false alarms.

    python benchmarks/inspect_planted.py                   # the three corpora, 20,000 pairs where there are so many
    python benchmarks/inspect_planted.py --corpus enja --pairs 5000

The thresholds were chosen on Multi30k English-German (`de`), those of languages, letters and lengths with a look at the
others too, French-English and two of Japanese; `tanaka` has 10,000 pairs. Each kind of fault is planted in 1 % of the
pairs, at random places. A fault counts as found if its pair is among those of its own kind, and a pair without a fault
that is found, of whatever kind, is a false alarm.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

from antiphon.config import DataConfig, SourceConfig, TrainConfig, TrainingConfig
from antiphon.inspection import scan as scanning
from antiphon.inspection.survey import survey
from antiphon.text import load_task

Pair = tuple[str, str]
FOLDER = Path(os.environ.get("ANTIPHON_DATA", "../shared/data"))
CORPORA = {  # name -> training sides, held-out sides, and texts in a third language
    "de": ("multi30k/raw/train.{}", "multi30k/raw/val.{}", ("en", "de"), "multi30k/raw/train.fr"),
    "fr": ("multi30k/tok/train.lc.norm.tok.{}", "multi30k/tok/val.lc.norm.tok.{}", ("fr", "en"),
           "multi30k/tok/train.lc.norm.tok.de"),
    "enja": ("small_parallel_enja/train.{}", "small_parallel_enja/dev.{}", ("en", "ja"),
             "multi30k/tok/train.lc.norm.tok.fr"),
    "tanaka": ("tanaka10k-jaen/train.{}", "tanaka10k-jaen/dev.{}", ("ja", "en"), "multi30k/tok/train.lc.norm.tok.de"),
}  # fmt: skip
SHARE = 0.01


def lines(name: str) -> list[str]:
    with gzip.open(FOLDER / f"{name}.gz", "rt", encoding="utf-8", newline="\n") as stream:
        return stream.read().rstrip("\n").split("\n")


class Planter:
    """Makes faulty pairs. `held` are the held-out pairs, `foreign` texts in a third language."""

    def __init__(self, chance: random.Random, held: list[Pair], foreign: list[str], clean: list[Pair]) -> None:
        self.chance, self.held, self.foreign, self.clean = chance, held, foreign, clean
        self.words = [word for source, _ in clean[:500] for word in source.split()]

    def duplicates(self, pair: Pair) -> Pair:
        return self.clean[0]

    def overlap_exact(self, pair: Pair) -> Pair:
        return self.chance.choice(self.held)

    def overlap_near(self, pair: Pair) -> Pair:
        """A held-out pair with one word of the source changed."""
        source, target = self.chance.choice([each for each in self.held if len(each[0].split()) >= 8])
        words = source.split(" ")
        words[self.chance.randrange(len(words))] = self.chance.choice(self.words)
        return " ".join(words), target

    def empty(self, pair: Pair) -> Pair:
        blank = self.chance.choice(["", " ", "\u00a0", "\u200b"])
        return (pair[0], blank) if self.chance.random() < 0.5 else (blank, pair[1])

    def swapped(self, pair: Pair) -> Pair:
        return pair[1], pair[0]

    def untranslated(self, pair: Pair) -> Pair:
        """The source as the target, now and then with another end."""
        text = pair[0]
        return text, text if self.chance.random() < 0.7 else text.rstrip(" .") + " !"

    def wrong_language(self, pair: Pair) -> Pair:
        text = self.chance.choice(self.foreign)
        return (pair[0], text) if self.chance.random() < 0.5 else (text, pair[1])

    def garbled(self, pair: Pair) -> Pair:
        """A side that is not ASCII, read as Latin-1 or Windows-1252."""
        pair = next(
            each for each in self.chance.sample(self.clean, len(self.clean)) if not (each[0] + each[1]).isascii()
        )
        page = self.chance.choice(["latin-1", "cp1252"])
        side = 0 if pair[1].isascii() else 1
        data = pair[side].encode()
        text = "".join(bytes([code]).decode(page, "ignore") or chr(code) for code in data)
        return (text, pair[1]) if side == 0 else (pair[0], text)

    def lost(self, pair: Pair) -> Pair:
        return pair[0], self._inside(pair[1], "\ufffd")

    def odd_characters(self, pair: Pair) -> Pair:
        odd = self.chance.choice(["\x00", "\x08", "\x1b", "\x85", "\u200b", "\ufeff", "\ue000", "\u2028", "\u202e"])
        return pair[0], self._inside(pair[1], odd)

    def normal_form(self, pair: Pair) -> Pair:
        """A pair with a decomposed letter, or with a ligature."""
        chosen = (
            each
            for each in self.chance.sample(self.clean, len(self.clean))
            if unicodedata.normalize("NFD", each[0] + each[1]) != each[0] + each[1]
        )
        source, target = next(chosen, (pair[0], self._inside(pair[1], "\ufb01")))
        return unicodedata.normalize("NFD", source), unicodedata.normalize("NFD", target)

    def numbers(self, pair: Pair) -> Pair:
        number = self.chance.randint(13, 9999)
        other = self.chance.choice(
            [each for each in range(number - 9, number + 9) if each not in (number - 12, number)]
        )
        return f"{pair[0]} ( {number} )", f"{pair[1]} ( {other} )"

    def urls(self, pair: Pair) -> Pair:
        name = self.chance.choice(["https://example.com/a", "www.example.org", "info@example.net"])
        other = self.chance.choice(["", name.replace("example", "exemple"), f"{name}/b" if "@" not in name else ""])
        return f"{pair[0]} {name}", f"{pair[1]} {other}".strip()

    def ratio(self, pair: Pair) -> Pair:
        """Three other targets behind the target, or nothing but its first word."""
        if self.chance.random() < 0.5:
            return pair[0], " ".join([pair[1], *(self.chance.choice(self.clean)[1] for _ in range(9))])
        return " ".join([pair[0], *(self.chance.choice(self.clean)[0] for _ in range(9))]), pair[1]

    def _inside(self, text: str, part: str) -> str:
        place = self.chance.randrange(len(text) + 1)
        return text[:place] + part + text[place:]


KINDS = [name for name in vars(Planter) if not name.startswith("_")]


def measure(name: str, pairs: int, seed: int, say: Callable[[str], None]) -> tuple[float, float]:
    """Plant, inspect, and say what was found. Returns the worst share found of a kind, and that of false alarms."""
    train, held, sides, foreign = CORPORA[name]
    texts = [list(zip(*(lines(part.format(side)) for side in sides), strict=True)) for part in (train, held)]
    chance = random.Random(seed)
    clean = chance.sample(texts[0], min(pairs, len(texts[0])))
    clean = list(dict.fromkeys(clean))
    planter = Planter(chance, texts[1], lines(foreign), clean)
    places = chance.sample(range(1, len(clean)), int(SHARE * len(clean)) * len(KINDS))
    planted = {place: KINDS[at % len(KINDS)] for at, place in enumerate(places)}
    made = [getattr(planter, planted[at])(pair) if at in planted else pair for at, pair in enumerate(clean)]
    with tempfile.TemporaryDirectory() as folder:
        data = DataConfig(train=write(Path(folder) / "train", made), valid=write(Path(folder) / "valid", texts[1]))
        scanning.EXAMPLES = len(made)  # all rows that are found
        found = survey(TrainConfig(data, training=TrainingConfig(max_steps=1)), load_task("translation"))
    rows: dict[str, set[int]] = {}
    for finding in found.findings:
        if finding.split == "train":
            numbers = {int(row.place.rpartition(":")[2]) - 1 for row in finding.examples}
            rows.setdefault(finding.kind.name, set()).update(numbers)
    say(f"{name}: {len(made):,} pairs, {len(places):,} with a fault")
    worst = 1.0
    for kind in KINDS:
        wanted = {place for place, planted_kind in planted.items() if planted_kind == kind}
        hits = rows.get(kind, set())
        if kind == "overlap_near":
            hits = hits | rows.get("overlap_exact", set())  # the changed word may be the same
        share = len(wanted & hits) / len(wanted)
        alarms = len(rows.get(kind, set()) - set(planted)) / (len(made) - len(planted))
        worst = min(worst, share)
        say(f"  {kind:<16} found {100 * share:6.2f} %   false alarms {100 * alarms:.3f} %")
    false = set().union(*rows.values()) - set(planted)
    alarms = len(false) / (len(made) - len(planted))
    say(f"  {'all kinds':<16} worst {100 * worst:6.2f} %   false alarms {100 * alarms:.3f} %")
    return worst, alarms


def write(path: Path, pairs: list[Pair]) -> SourceConfig:
    sides = [path.with_suffix(f".{side}") for side in ("source", "target")]
    for side, file in enumerate(sides):
        with file.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(pair[side] + "\n" for pair in pairs)
    return SourceConfig(source=str(sides[0]), target=str(sides[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", choices=list(CORPORA), nargs="*", default=list(CORPORA))
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    for name in flags.corpus:
        measure(name, flags.pairs, flags.seed, lambda line: sys.stdout.write(f"{line}\n"))


if __name__ == "__main__":
    main()
