"""Printed lines from the fonts of this machine: up to 20 fonts, a quarter of them in no training line.

    python recipes/prepare/printed_lines.py --texts texts.txt --output data/printed
    python recipes/prepare/printed_lines.py --manuscripts $ANTIPHON_DATA/caroline-lines/train.tsv --output data/latin

Writes `train/`, `valid/` and `test/`, each with `lines.tsv` (image, text, font). Texts are lines of a file (.txt or
.gz), cut at spaces to at most 48 characters; or, with `--manuscripts`, new lines made of the words of the training
transcriptions. The texts of the three sets are different. Validation lines are set in the fonts of training, test lines
in the others. Needs Pillow.

With `--manuscripts` the lines look more like the manuscripts: black on white, the `s` of half of the lines drawn as the
long s, which the transcriptions do not distinguish, and some words without a space between them. `--fonts` is a folder
of more fonts than those of this machine; each line has one with all its characters.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import random
from pathlib import Path

from PIL import Image

from antiphon.data import find_fonts, lines_of_text

MOST_CHARACTERS = 48
FONTS, LEAST_FONTS = 20, 8
LONG_S, LONG = "ſ", 0.5  # the share of lines in which `s` is drawn as the long s
JOINED = 0.15  # the share of spaces that are left out
BLACK = 0.75  # from ink (0) to paper (1): pixels below are black in lines that look like manuscripts, others white


def cut(text: str, draw: random.Random) -> str:
    """A part of a text, of whole words."""
    words, line = text.split(), ""
    start = draw.randrange(len(words)) if len(text) > MOST_CHARACTERS else 0
    for word in words[start:]:
        if line and len(line) + 1 + len(word) > MOST_CHARACTERS:
            break
        line = f"{line} {word}".strip()
    return line[:MOST_CHARACTERS].strip()


def texts_of(file: Path) -> list[str]:
    content = file.read_bytes()
    text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
    return [line.strip() for line in text.split("\n") if line.strip()]


def texts_of_words(table: Path, count: int) -> list[str]:
    """New lines of the words of a table's texts."""
    with table.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        words = [word for row in rows for word in row["text"].split()]
    draw = random.Random("lines")
    return [join(draw.choices(words, k=draw.randint(4, 10)), draw) for _ in range(count)]


def join(words: list[str], draw: random.Random) -> str:
    return "".join(word + ("" if draw.random() < JOINED else " ") for word in words).strip()


def draw_set(texts: list[str], folder: Path, *, fonts: list[Path], seed: int, medieval: bool) -> None:
    """Draw the lines of a set; with `medieval` most `s` as the long s, in black on white."""
    draw = random.Random(f"s {seed}")
    drawn = [text.replace("s", LONG_S) if draw.random() < LONG else text for text in texts]
    table = lines_of_text(drawn if medieval else texts, folder, fonts=fonts, seed=seed)
    if not medieval:
        return
    table.write_text(table.read_text(encoding="utf-8").replace(LONG_S, "s"), encoding="utf-8")
    for file in folder.glob("*.png"):
        with Image.open(file) as image:
            grey = image.convert("L")
        ink, paper = grey.getextrema()
        threshold = round(ink + BLACK * (paper - ink))
        grey.point([0] * threshold + [255] * (256 - threshold)).save(file)


def choose_fonts(texts: list[str], folder: Path | None) -> tuple[list[Path], list[Path]]:
    """Fonts for training and for testing, drawn from those that have all characters of the texts. `folder` has more
    fonts for training, which need not have all."""
    found = find_fonts(set("".join(texts)))
    if len(found) < LEAST_FONTS:
        raise SystemExit(f"{LEAST_FONTS} fonts with all characters must be installed, but there are {len(found)}")
    random.Random("fonts").shuffle(found)
    found = found[:FONTS]
    held_out = len(found) // 4
    more = find_fonts("abc", folders=[folder]) if folder else []
    return [*found[held_out:], *more], found[:held_out]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--texts", type=Path)
    given.add_argument("--manuscripts", type=Path)
    parser.add_argument("--fonts", type=Path, help="a folder of more fonts for training")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=12_000, help="for training; a twentieth of it for each other set")
    options = parser.parse_args()
    few = options.lines // 20
    count = options.lines + 2 * few
    texts = texts_of(options.texts) if options.texts else texts_of_words(options.manuscripts, 2 * count)
    draw = random.Random("texts")
    draw.shuffle(texts)
    lines = list(dict.fromkeys(cut(text, draw) for text in texts))[:count]
    if len(lines) < count:
        raise SystemExit(f"{count:,} different lines are needed, but the texts give {len(lines):,}; lower --lines")
    known, others = choose_fonts([*lines, LONG_S] if options.manuscripts else lines, options.fonts)
    parts = {"train": lines[2 * few :], "valid": lines[:few], "test": lines[few : 2 * few]}
    for seed, (name, part) in enumerate(parts.items()):
        fonts = others if name == "test" else known
        draw_set(part, options.output / name, fonts=fonts, seed=seed, medieval=bool(options.manuscripts))
        print(f"{name}: {len(part):,} lines")
    print(f"{len(known)} fonts; those of the test lines:", ", ".join(font.stem for font in others))


if __name__ == "__main__":
    main()
