"""Printed lines from the fonts of this machine: up to 20 fonts, a quarter of them in no training line.

    python recipes/prepare/printed_lines.py --texts texts.txt --output data/printed

Writes `train/`, `valid/` and `test/`, each with `lines.tsv` (image, text, font). Texts are lines of a file (.txt or
.gz), cut at spaces to at most 48 characters. The texts of the three sets are different. Validation lines are set in the
fonts of training, test lines in the others. Needs Pillow. Lines that look like manuscripts: manuscript_lines.py.
"""

from __future__ import annotations

import argparse
import gzip
import random
from pathlib import Path

from antiphon.data import find_fonts, lines_of_text

MOST_CHARACTERS = 48
FONTS, LEAST_FONTS = 20, 8


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


def choose_fonts(texts: list[str]) -> tuple[list[Path], list[Path]]:
    """Fonts for training and for testing, drawn from those that have all characters of the texts."""
    found = find_fonts(set("".join(texts)))
    if len(found) < LEAST_FONTS:
        raise SystemExit(f"{LEAST_FONTS} fonts with all characters must be installed, but there are {len(found)}")
    random.Random("fonts").shuffle(found)
    found = found[:FONTS]
    held_out = len(found) // 4
    return found[held_out:], found[:held_out]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=12_000, help="for training; a twentieth of it for each other set")
    options = parser.parse_args()
    few = options.lines // 20
    count = options.lines + 2 * few
    texts = texts_of(options.texts)
    draw = random.Random("texts")
    draw.shuffle(texts)
    lines = list(dict.fromkeys(cut(text, draw) for text in texts))[:count]
    if len(lines) < count:
        raise SystemExit(f"{count:,} different lines are needed, but the texts give {len(lines):,}; lower --lines")
    known, others = choose_fonts(lines)
    parts = {"train": lines[2 * few :], "valid": lines[:few], "test": lines[few : 2 * few]}
    for seed, (name, part) in enumerate(parts.items()):
        fonts = others if name == "test" else known
        lines_of_text(part, options.output / name, fonts=fonts, seed=seed)
        print(f"{name}: {len(part):,} lines")
    print(f"{len(known)} fonts; those of the test lines:", ", ".join(font.stem for font in others))


if __name__ == "__main__":
    main()
