"""The demo of images: trains a small model on scikit-learn's handwritten digits (8 x 8 pixels), evaluates it on others,
and answers names of image files that you type.

    antiphon demo --images

Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits" (UCI); the 1,797 images of scikit-learn.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

from antiphon.config import TrainConfig
from antiphon.data import cases
from antiphon.display import clock
from antiphon.durable import make_folder
from antiphon.errors import ConfigError
from antiphon.evaluation.evaluate import evaluate
from antiphon.generation.model import Model
from antiphon.recipe import from_mapping
from antiphon.text import load_task
from antiphon.workflows.demos.phrases import answer_lines, say_line, silent
from antiphon.workflows.train import train

STEPS = 800  # about a minute on one core
BAR = 97.0  # required accuracy of the full demo
_SPLITS = {"valid": 180, "test": 360}  # images; the others are for training
_SHADES = " .:-=+*#%@"
_SHOWN = 3  # images of the test set in the terminal


def images_config(data: Path, *, steps: int, minutes: float | None, output: str) -> TrainConfig:
    """The demo's recipe: convolutions turn an image into four vectors, one for each two columns of pixels."""
    convolutions = {
        "height": 8, "width": 8, "front": "convolutions", "conv_channels": [32, 64, 64],
        "conv_strides": [[2, 1], [2, 2], [2, 1]],
    }  # fmt: skip
    return from_mapping(
        {
            "task": "classification",
            "data": {
                **{name: {"path": str(data / f"{name}.tsv")} for name in ("train", "valid", "test")},
                "labels": [str(digit) for digit in range(10)],
                "augment": [{"crop": 0.15}, {"elastic": {"strength": 0.6, "spacing": 4}}],
            },
            "tokenizer": {"kind": "words", "vocab_size": 280},
            "model": {
                "preset": "tiny", "input": {"image": convolutions}, "positions": "learned", "d_model": 64,
                "ffn_dim": 192, "decoder_layers": 1, "dropout": 0.1, "max_length": 32,
            },
            "training": {
                "batch_tokens": 1024, "max_steps": steps, "max_minutes": minutes, "lr": 2e-3, "schedule": "cosine",
                "warmup_steps": min(50, steps // 10), "save_every_steps": 1000, "keep_last": 2, "log_every_steps": 100,
            },
            "validation": {"every_steps": 200, "metrics": ["accuracy"], "samples": 0},
            "output": output,
        }
    )  # fmt: skip


def demo_images(
    *, steps: int | None = None, minutes: float | None = None, output: str | Path = "runs/demo-images",
    quiet: bool = False,
) -> int:  # fmt: skip
    """Train on handwritten digits, evaluate on 360 others, then answer names of image files of standard input.

    An existing run is continued, or used if it is complete. Returns the exit code: 1 if the full demo misses its score.
    ConfigError without scikit-learn or Pillow.
    """
    say = silent if quiet else say_line
    data = write_digits(Path(output).parent / f"{Path(output).name}-data")
    say(f"1,797 handwritten digits of 8 x 8 pixels, as image files in {data}; {_SPLITS['test']} of them are held out.")
    config = images_config(data, steps=steps or STEPS, minutes=minutes, output=str(output))
    run = train(config, resume=True, device="cpu", quiet=quiet)
    rows = cases(config.data.test, load_task("classification"))
    tests = [(str(data / source), targets[0]) for source, targets, _ in rows]
    report = evaluate(run.model, tests, metrics=["accuracy", "macro_f1"])
    seconds = max((float(str(row["time_seconds"])) for row in run.metrics), default=0.0)
    score = report["accuracy"].score
    say(f"held-out digits: accuracy {score:.1f} %, F1 {report['macro_f1'].score:.1f} ({clock(seconds)} of training)")
    for source, _ in tests[:_SHOWN]:
        say(shown(run.model, source))
    missed = steps is None and minutes is None and score < BAR
    if missed:
        say(f"the demo missed its bar: accuracy {score:.1f} is below {BAR:g}.")
    if sys.stdin is not None:  # None if standard input is closed
        hint = f"Type the name of an image file, such as {tests[0][0]}; an empty line or Ctrl-D ends."
        answer_lines(run.model, sys.stdin, sys.stdout, prompt="image> " if sys.stdin.isatty() else "", hint=hint)
    return 1 if missed else 0


def write_digits(folder: Path) -> Path:
    """The images as .png files, and a table of each split; nothing is done if they are there."""
    try:
        import numpy as np
        from PIL import Image
        from sklearn.datasets import load_digits
    except ImportError as error:
        problem = f"the demo of images needs scikit-learn and Pillow, but there is no {error.name}"
        raise ConfigError(f"{problem}. Run pip install 'antiphon[digits]'.") from None
    if (folder / "train.tsv").is_file():
        return folder
    make_folder(folder / "images")
    digits: Any = load_digits()
    order = list(range(len(digits.target)))
    random.Random(0).shuffle(order)
    for name in (*_SPLITS, "train"):
        count = _SPLITS.get(name, len(order))
        part, order = order[:count], order[count:]
        lines = ["image\tlabel"]
        for number in part:
            file = f"images/{number:04}.png"
            ink = np.asarray(digits.images[number])  # (8, 8), 0 to 16, 16 is ink
            Image.fromarray((255 - ink * 255 / 16).astype("uint8")).save(folder / file)
            lines.append(f"{file}\t{digits.target[number]}")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def shown(model: Model, file: str) -> str:
    """An image as characters, and beside it the three most probable labels."""
    from PIL import Image

    answer = model.generate(file)[0]
    best = sorted((answer.probabilities or {}).items(), key=lambda pair: -pair[1])[:_SHOWN]
    with Image.open(file) as image:
        rows = [[255 - value for value in image.crop((0, y, 8, y + 1)).tobytes()] for y in range(8)]
    beside = ["", "", *(f"   {label}  {share:6.1%}  {'#' * round(share * 20)}" for label, share in best)]
    beside += [""] * (8 - len(beside))
    pixels = ("".join(2 * _SHADES[value * (len(_SHADES) - 1) // 255] for value in row) for row in rows)
    return "\n".join(f"  |{left}|{right}" for left, right in zip(pixels, beside, strict=True))
