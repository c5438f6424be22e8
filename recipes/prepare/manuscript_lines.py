"""Printed lines that look like those of manuscripts in Caroline minuscule, to learn before the few real ones.

    python recipes/prepare/manuscript_lines.py --texts data/caroline/train.tsv --fonts FONTS --output data/latin

Writes `train/` and `valid/`, each with `lines.tsv` (image, text, font). The texts are made by a model of characters of
the training transcriptions (the next character by the three before it), so that words are new and abbreviations stand
where scribes put them. Each line has one of the fonts in FONTS; a tenth of them has one of this machine. Letters are
placed one by one, with uneven sizes and distances; abbreviations are drawn as scribes did: a bar above for tildes,
macrons and `*`, a stroke through the `p`; most `s` are long. Ink is thick or thin, broken in places, and black on
white. What can be measured in the images (the share of the height that small letters take, the base line, the share of
ink) is about the same as in the training lines. Needs Pillow.
"""

from __future__ import annotations

import argparse
import csv
import random
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from antiphon.data import find_fonts

HEIGHT = 96  # pixels of an image
LENGTHS = (25, 60)  # characters of a line
CONTEXT = 3  # characters that the next one depends on
OWN_FONTS = 0.1  # the share of lines in fonts of this machine where others are given
UPPER_LINES, UPPER_WORDS = 0.03, 0.08  # lines in capitals; words that begin with one
MARK = "*"  # an abbreviation of any kind in the transcriptions
BARS = {"\u0303", "\u0304"}  # tilde and macron, both drawn as a bar
STROKES = {"ꝑ": "p", "ꝓ": "p", "đ": "d", "ę": "e", "ꝝ": "r", "ꝛ": "r"}  # letters that a font may lack: drawn by hand
PLAIN = "abcdefghilmnopqrstux"


class Lines:
    """Random lines of a table's texts: each character by those before it."""

    def __init__(self, table: Path) -> None:
        with table.open(encoding="utf-8", newline="") as stream:
            texts = [row["text"] for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]
        text = unicodedata.normalize("NFC", " ".join(texts))
        if len(text) <= CONTEXT:
            raise SystemExit(f"--texts must have texts of more than {CONTEXT} characters, but {table} has not.")
        self._next: dict[str, list[str]] = defaultdict(list)
        for length in (CONTEXT - 1, CONTEXT):
            for end in range(length, len(text)):
                self._next[text[end - length : end]].append(text[end])
        self._words = text.split()

    def draw(self, dice: random.Random) -> str:
        """One line, half of them of whole words."""
        length = dice.randint(*LENGTHS)
        if dice.random() < 0.5:
            line = "".join(word + " " * (dice.random() > 0.15) for word in dice.choices(self._words, k=length // 4))
        else:
            line = dice.choice(self._words) + " "
            while len(line) < length:
                context = line[-(CONTEXT if dice.random() < 0.8 else CONTEXT - 1) :]
                line += dice.choice(self._next.get(context) or self._next[line[-CONTEXT + 1 :]] or [" "])
        line = " ".join(word.capitalize() if dice.random() < UPPER_WORDS else word for word in line.split())
        return line.upper() if dice.random() < UPPER_LINES else line


@dataclass
class Hand:
    """How one line is drawn. Distances are in heights of small letters."""

    font: Path
    small: float  # the height of small letters in pixels
    base: float  # the base line, pixels from above
    tracking: float
    space: float
    uneven: float
    slope: float
    long_s: float  # the share of `s` that are long
    raised: float  # how far points are raised

    @classmethod
    def draw(cls, font: Path, dice: random.Random) -> Hand:
        return cls(
            font=font,
            small=HEIGHT * dice.uniform(0.21, 0.37),
            base=HEIGHT * dice.uniform(0.6, 0.72),
            tracking=dice.uniform(-0.12, 0.1),
            space=dice.uniform(0.2, 0.9),
            uneven=dice.uniform(0.0, 0.06),
            slope=dice.gauss(0.0, 0.003),
            long_s=dice.choice([0.0, 0.8, 1.0, 1.0]),
            raised=dice.choice([0.0, 0.3, 0.5]),
        )

    def face(self, scale: float = 1.0) -> ImageFont.FreeTypeFont:
        """The font at the size that gives small letters their height; `scale` is of a few values."""
        _, top, _, bottom = face(self.font, 100).getbbox("x", anchor="ls")
        return face(self.font, max(8, round(100 * scale * self.small / max(1, bottom - top))))


@cache
def face(font: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font), size)


@cache
def has(font: Path, character: str) -> bool:
    """Whether a font draws a character other than by its sign for an absent one."""
    pictures = [bytes(face(font, 24).getmask(each)) for each in (character, "\U0010ffff")]
    return pictures[0] != pictures[1] and any(pictures[0])


def line(text: str, hand: Hand, dice: random.Random) -> Image.Image:
    """Ink (255) of a line on nothing (0)."""
    image = Image.new("L", (len(text) * HEIGHT // 2 + 2 * HEIGHT, HEIGHT))
    draw, x, last = ImageDraw.Draw(image), dice.uniform(0.05, 0.6) * hand.small, None
    for character in unicodedata.normalize("NFD", text.replace("ę", "\ue000")).replace("\ue000", "ę"):
        y = hand.base + hand.slope * x + hand.uneven * hand.small * dice.gauss(0.0, 1.0)
        if character == " ":
            x += hand.small * hand.space * dice.uniform(0.5, 1.5)
        elif character in BARS or (character == MARK and last):
            bar(draw, hand, dice, *(last or (0.0, x)), y)
        else:
            start = x
            x += letter(draw, character, hand, dice, x, y)
            last = (start, x)
            x += hand.small * (hand.tracking + hand.uneven * dice.gauss(0.0, 1.0))
    return image.crop((0, 0, round(x + dice.uniform(0.1, 0.8) * hand.small), HEIGHT))


def letter(draw: ImageDraw.ImageDraw, character: str, hand: Hand, dice: random.Random, x: float, y: float) -> float:
    """Draw a letter at the base line `y`, and return its width."""
    if character == "s" and dice.random() < hand.long_s and has(hand.font, "ſ"):
        character = "ſ"
    if character in ".:":
        y -= hand.raised * hand.small * (character == ".")
    drawn = character if has(hand.font, character) and dice.random() < 0.5 else STROKES.get(character, character)
    font = hand.face(1.0 + hand.uneven * dice.choice([-1.0, 0.0, 1.0]))
    draw.text((x, y), drawn, fill=255, font=font, anchor="ls")
    width = font.getlength(drawn)
    if drawn != character:
        stroke(draw, character, hand, x, x + width, y)
    return width


def stroke(draw: ImageDraw.ImageDraw, character: str, hand: Hand, left: float, right: float, y: float) -> None:
    """What a letter of STROKES has beside its plain form."""
    h, middle, width = hand.small, (left + right) / 2, pen(hand)
    points = {
        "ꝑ": [(left - 0.15 * h, y + 0.4 * h), (middle + 0.25 * h, y + 0.3 * h)],
        "ꝓ": [
            (left + 0.2 * h, y),
            (left - 0.25 * h, y + 0.1 * h),
            (left - 0.2 * h, y + 0.45 * h),
            (middle, y + 0.35 * h),
        ],
        "đ": [(middle - 0.1 * h, y - 1.45 * h), (right + 0.2 * h, y - 1.5 * h)],
        "ę": [(middle, y), (middle - 0.2 * h, y + 0.25 * h), (middle + 0.1 * h, y + 0.45 * h), (left, y + 0.5 * h)],
        "ꝝ": [(left, y + 0.1 * h), (right + 0.1 * h, y - 0.5 * h)],
        "ꝛ": [(middle, y - 0.4 * h), (right, y)],
    }[character]
    draw.line(points, fill=255, width=width, joint="curve")


def bar(draw: ImageDraw.ImageDraw, hand: Hand, dice: random.Random, left: float, right: float, y: float) -> None:
    """A bar above a letter, straight or waved."""
    h, top = hand.small, y - hand.small * dice.uniform(1.25, 1.7)
    left, right = left - dice.uniform(-0.1, 0.3) * h, right + dice.uniform(-0.1, 0.3) * h
    wave = dice.choice([0.0, 0.0, 0.1]) * h
    waves = [wave, -wave, wave, -wave + dice.uniform(-0.1, 0.1) * h]
    points = [(left + (right - left) * part / 3, top + wave) for part, wave in enumerate(waves)]
    draw.line(points, fill=255, width=pen(hand), joint="curve")


def pen(hand: Hand) -> int:
    return max(2, round(0.13 * hand.small))


def aged(ink: Image.Image, dice: random.Random) -> Image.Image:
    """Black on white: stretched, with thicker or thinner strokes, breaks, specks and ends of neighbouring lines."""
    width = max(HEIGHT // 2, round(ink.width * dice.uniform(0.8, 1.15)))
    ink = ink.resize((width, HEIGHT), Image.Resampling.BICUBIC)
    neighbours(ink, dice)
    if dice.random() < 0.5:
        ink = ink.filter(ImageFilter.MaxFilter(3))
    ink = ink.filter(ImageFilter.GaussianBlur(dice.uniform(0.6, 2.0)))
    coarse = (width // 4, HEIGHT // 4)
    noise = Image.frombytes("L", coarse, dice.randbytes(coarse[0] * coarse[1]))
    strength = dice.uniform(0.15, 1.6)
    noise = noise.point([max(0, min(255, round(268 + strength * (value - 128)))) for value in range(256)])
    faded = ImageChops.multiply(ink, noise.resize(ink.size, Image.Resampling.BICUBIC))
    threshold = dice.uniform(0.25, 0.55) * 255
    return faded.point([255 * (value < threshold) for value in range(256)])


def neighbours(ink: Image.Image, dice: random.Random) -> None:
    """Specks, and strokes that come in from the lines above and below."""
    draw = ImageDraw.Draw(ink)
    for _ in range(dice.choice([0, 0, 1, 3, 6])):
        x, size = dice.uniform(0, ink.width), dice.uniform(1, 4)
        y = dice.choice([dice.uniform(0, HEIGHT), 0, HEIGHT])
        end = (x + dice.uniform(-3, 3), y + (dice.uniform(2, 12) if y in (0, HEIGHT) else size) * (-1 if y else 1))
        draw.line([(x, y), end], fill=255, width=round(size) + 1)


def draw_set(lines: list[str], folder: Path, *, fonts: list[Path], own: list[Path], seed: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lines.tsv").open("w", encoding="utf-8", newline="\n") as stream:
        stream.write("image\ttext\tfont\n")
        for number, text in enumerate(lines):
            dice = random.Random(f"{seed} {number}")
            known = [each for each in (own if dice.random() < OWN_FONTS and own else fonts) if able(each, text)]
            font = dice.choice(known or [each for each in [*fonts, *own] if able(each, text)])
            aged(line(text, Hand.draw(font, dice), dice), dice).save(folder / f"{number:05}.png")
            stream.write(f"{number:05}.png\t{text}\t{font.stem}\n")


def able(font: Path, text: str) -> bool:
    """Whether a line can be drawn in a font; letters of STROKES and those with a bar need their plain form alone."""
    plain = unicodedata.normalize("NFD", "".join(STROKES.get(each, each) for each in text))
    return all(has(font, each) for each in plain if each not in BARS and each not in f" {MARK}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="a table with a column `text`")
    parser.add_argument("--fonts", type=Path, help="a folder of fonts that look like the hands")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=12_000, help="for training; a fortieth of it for validation")
    options = parser.parse_args()
    if options.fonts and not options.fonts.is_dir():
        raise SystemExit(f"--fonts must be a folder, but {options.fonts} is none.")
    own, fonts = find_fonts(PLAIN), find_fonts(PLAIN, folders=[options.fonts]) if options.fonts else []
    source, dice = Lines(options.texts), random.Random("lines")
    lines = [source.draw(dice) for _ in range(options.lines + options.lines // 40)]
    lines = [text for text in lines if any(able(font, text) for font in [*fonts, *own])]
    few = options.lines // 40
    for name, part in (("valid", lines[:few]), ("train", lines[few:])):
        draw_set(part, options.output / name, fonts=fonts or own, own=own, seed=name)
        print(f"{name}: {len(part):,} lines")


if __name__ == "__main__":
    main()
