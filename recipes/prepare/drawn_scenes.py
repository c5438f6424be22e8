"""Questions about drawn scenes: two shapes on a plain ground, and a question that only looking answers.

    python recipes/prepare/drawn_scenes.py --output data/scenes

Writes `images/` (.png, 64 x 64, colour), and `train.tsv`, `valid.tsv` and `test.tsv` with the columns image, prompt
(the question) and text (the answer). A fifth of the 100 combinations of colour and shape is in no training scene: each
validation and test scene has one of them, and its question is about it. Validation and test have different ones, so
that what is chosen by validation is measured on combinations that nothing was chosen by. Needs Pillow.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

SIZE = 64
COLOURS = {
    "red": (205, 40, 40), "green": (40, 150, 60), "blue": (40, 75, 205), "yellow": (240, 215, 50),
    "purple": (135, 45, 165), "black": (22, 22, 22), "orange": (245, 135, 30), "pink": (245, 150, 195),
    "brown": (115, 70, 35), "grey": (135, 135, 135),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "cross", "star", "diamond", "ring", "heart", "arrow", "moon")
BOTH = 0.4  # the share of questions about both things, from left to right
SIZES = {"small": 8, "large": 13}  # half of the width in pixels
POLYGONS = {  # corners in a square from -1 to 1; y grows downwards
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "triangle": [(0, -1), (1, 1), (-1, 1)],
    "diamond": [(0, -1), (0.8, 0), (0, 1), (-0.8, 0)],
    "arrow": [(-1, -0.35), (0.1, -0.35), (0.1, -0.9), (1, 0), (0.1, 0.9), (0.1, 0.35), (-1, 0.35)],
    "cross": [
        (-0.33, -1), (0.33, -1), (0.33, -0.33), (1, -0.33), (1, 0.33), (0.33, 0.33),
        (0.33, 1), (-0.33, 1), (-0.33, 0.33), (-1, 0.33), (-1, -0.33), (-0.33, -0.33),
    ],
    "star": [
        (0, -1), (0.25, -0.3), (1, -0.3), (0.4, 0.15), (0.6, 0.9),
        (0, 0.45), (-0.6, 0.9), (-0.4, 0.15), (-1, -0.3), (-0.25, -0.3),
    ],
}  # fmt: skip
Shade = tuple[int, ...]
Thing = tuple[str, str, str]  # colour, shape, size


def held_out(name: str) -> set[tuple[str, str]]:
    """The combinations of a set that no other set has: one of each colour and one of each shape."""
    offset = {"valid": 0, "test": 5}[name]
    colours = list(COLOURS)
    return {(colours[i], SHAPES[(3 * i + offset) % len(SHAPES)]) for i in range(len(colours))}


def draw_shape(pen: ImageDraw.ImageDraw, shape: str, x: int, y: int, r: int, shade: Shade, ground: Shade) -> None:
    """Draw a shape of the half width r around (x, y)."""
    if shape in POLYGONS:
        pen.polygon([(x + r * a, y + r * b) for a, b in POLYGONS[shape]], fill=shade)
    elif shape == "heart":
        for side in (-1, 1):
            pen.ellipse((x + side * r / 2 - r / 2, y - r, x + side * r / 2 + r / 2, y), fill=shade)
        pen.polygon([(x - r, y - r * 0.35), (x + r, y - r * 0.35), (x, y + r)], fill=shade)
    else:
        pen.ellipse((x - r, y - r, x + r, y + r), fill=shade)
        if shape == "ring":
            pen.ellipse((x - r / 2, y - r / 2, x + r / 2, y + r / 2), fill=ground)
        elif shape == "moon":
            pen.ellipse((x - r * 0.3, y - r, x + r * 1.5, y + r * 0.8), fill=ground)


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
        draw_shape(pen, shape, x, y, SIZES[size], shade, (ground,) * 3)
        places.append((x, y))
    return image, places


def question(things: list[Thing], places: list[tuple[int, int]], asked: int, draw: random.Random) -> tuple[str, str]:
    """A question about the thing `asked`, or about both, and its answer."""
    if draw.random() < BOTH:
        in_order = sorted(zip(places, things, strict=True))
        return "what is there ?", " and ".join(f"a {size} {colour} {shape}" for _, (colour, shape, size) in in_order)
    (colour, shape, size), (x, y) = things[asked], places[asked]
    other, (ox, oy) = things[1 - asked], places[1 - asked]
    side = draw.choice(["left" if x < ox else "right", "above" if y < oy else "below"])
    forms = [
        (f"what colour is the {shape} ?", colour),
        (f"what shape is {colour} ?", shape),
        (f"what size is the {colour} {shape} ?", size),
        (f"what is {'left' if x < ox else 'right'} of the {other[1]} ?", f"a {size} {colour} {shape}"),
        (f"what is {'above' if y < oy else 'below'} the {other[1]} ?", f"a {size} {colour} {shape}"),
        (f"is the {shape} left of the {other[1]} ?", "yes" if x < ox else "no"),
        (f"what shape is {side} ?", shape),
        (f"what colour is {side} ?", colour),
    ]
    return draw.choice(forms)


def scene(name: str, number: int) -> tuple[Image.Image, str, str]:
    draw = random.Random(f"{name} {number}")
    never = held_out("valid") | held_out("test")
    known = [(colour, shape) for colour in COLOURS for shape in SHAPES if (colour, shape) not in never]
    first = draw.choice(known if name == "train" else sorted(held_out(name)))
    second = draw.choice([pair for pair in known if pair[0] != first[0] and pair[1] != first[1]])
    things = [(*pair, draw.choice(sorted(SIZES))) for pair in (first, second)]
    image, places = draw_scene(things, draw)
    return image, *question(things, places, 0, draw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=40_000, help="for training; a twentieth of it for each other set")
    options = parser.parse_args()
    (options.output / "images").mkdir(parents=True, exist_ok=True)
    for name in ("train", "valid", "test"):
        count = options.scenes if name == "train" else options.scenes // 20
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
