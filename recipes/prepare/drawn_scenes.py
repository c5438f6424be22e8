"""Questions about drawn scenes: two shapes on a plain ground, and a question that only looking answers.

    python recipes/prepare/drawn_scenes.py --output data/scenes

Writes `images/` (.png, 64 x 64, colour), and `train.tsv`, `valid.tsv` and `test.tsv` with the columns image, prompt
(the question) and text (the answer). Some combinations of colour and shape are in no training scene: each validation
and test scene has at least one of them, and its question is about it. Validation and test have different ones, so that
what is chosen by validation is measured on combinations that nothing was chosen by. Needs Pillow.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

SIZE = 64
COLOURS = {
    "red": (205, 45, 45), "green": (40, 150, 60), "blue": (45, 80, 200), "yellow": (235, 205, 50),
    "purple": (140, 60, 160), "black": (25, 25, 25),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "cross", "star")
SIZES = {"small": 8, "large": 13}  # half of the width in pixels
HELD_OUT = {
    "valid": {("red", "circle"), ("green", "star"), ("black", "square")},
    "test": {("blue", "triangle"), ("yellow", "cross"), ("purple", "circle"), ("red", "square"), ("green", "cross")},
}
Thing = tuple[str, str, str]  # colour, shape, size


def outline(shape: str, x: int, y: int, r: int) -> list[tuple[float, float]]:
    """The corners of a shape around (x, y)."""
    if shape == "square":
        return [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]
    if shape == "triangle":
        return [(x, y - r), (x + r, y + r), (x - r, y + r)]
    if shape == "cross":
        w = r // 3
        return [
            (x - w, y - r), (x + w, y - r), (x + w, y - w), (x + r, y - w), (x + r, y + w), (x + w, y + w),
            (x + w, y + r), (x - w, y + r), (x - w, y + w), (x - r, y + w), (x - r, y - w), (x - w, y - w),
        ]  # fmt: skip
    points = [(0, -1), (0.25, -0.3), (1, -0.3), (0.4, 0.15), (0.6, 0.9), (0, 0.45)]  # a half of a star
    half = [(x + r * a, y + r * b) for a, b in points]
    return half + [(2 * x - a, b) for a, b in reversed(half[1:-1])]


def draw_scene(things: list[Thing], draw: random.Random) -> tuple[Image.Image, list[tuple[int, int]]]:
    """The image, and where each thing is: apart from each other by more than their sizes, on both axes."""
    ground = draw.randint(215, 255)
    image = Image.new("RGB", (SIZE, SIZE), (ground,) * 3)
    pen, places = ImageDraw.Draw(image), []
    low, high = 14, SIZE - 15
    xs, ys = ([draw.randint(low, low + 8), draw.randint(high - 8, high)] for _ in range(2))
    draw.shuffle(xs)
    draw.shuffle(ys)
    for (colour, shape, size), x, y in zip(things, xs, ys, strict=True):
        shade = tuple(min(255, max(0, part + draw.randint(-20, 20))) for part in COLOURS[colour])
        r = SIZES[size]
        if shape == "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=shade)
        else:
            pen.polygon(outline(shape, x, y, r), fill=shade)
        places.append((x, y))
    return image, places


def question(things: list[Thing], places: list[tuple[int, int]], asked: int, draw: random.Random) -> tuple[str, str]:
    """A question about the thing `asked`, and its answer."""
    (colour, shape, size), (x, y) = things[asked], places[asked]
    other, (ox, oy) = things[1 - asked], places[1 - asked]
    forms = [
        (f"what colour is the {shape} ?", colour),
        (f"what shape is {colour} ?", shape),
        (f"what size is the {colour} {shape} ?", size),
        (f"what is {'left' if x < ox else 'right'} of the {other[1]} ?", f"a {size} {colour} {shape}"),
        (f"what is {'above' if y < oy else 'below'} the {other[1]} ?", f"a {size} {colour} {shape}"),
        (f"is the {shape} left of the {other[1]} ?", "yes" if x < ox else "no"),
    ]
    return draw.choice(forms)


def scene(name: str, number: int) -> tuple[Image.Image, str, str]:
    draw = random.Random(f"{name} {number}")
    never = set().union(*HELD_OUT.values())
    known = [(colour, shape) for colour in COLOURS for shape in SHAPES if (colour, shape) not in never]
    first = draw.choice(sorted(HELD_OUT[name])) if name in HELD_OUT else draw.choice(known)
    second = draw.choice([pair for pair in known if pair[0] != first[0] and pair[1] != first[1]])
    things = [(*pair, draw.choice(sorted(SIZES))) for pair in (first, second)]
    image, places = draw_scene(things, draw)
    return image, *question(things, places, 0, draw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=20_000, help="for training; a tenth of it for each other set")
    options = parser.parse_args()
    (options.output / "images").mkdir(parents=True, exist_ok=True)
    for name in ("train", "valid", "test"):
        count = options.scenes if name == "train" else options.scenes // 10
        with (options.output / f"{name}.tsv").open("w", encoding="utf-8", newline="\n") as table:
            table.write("image\tprompt\ttext\n")
            for number in range(count):
                image, asked, answer = scene(name, number)
                file = f"images/{name}-{number:05}.png"
                image.save(options.output / file)
                table.write(f"{file}\t{asked}\t{answer}\n")
        print(f"{name}: {count:,} scenes")


if __name__ == "__main__":
    main()
