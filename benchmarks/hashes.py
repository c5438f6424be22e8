"""Hashes of what training and decoding give, to compare two versions of the code on one machine.

    python benchmarks/hashes.py [--only training,search] > before.txt
    python benchmarks/hashes.py > after.txt && diff before.txt after.txt

A refactor changes no bit: the weights after 200 steps in six settings, and the answers and scores of every kind of
search on four of these models, in float32 and in int8. Only the public interface is used, so that the script runs on
every version. Hashes of different processors or numbers of threads are not comparable.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import antiphon

STEPS = 200
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
TRAININGS: dict[str, dict[str, Any]] = {
    "full": {"model": {"dropout": 0.1}},
    "rotary_window": {
        "model": {"positions": "rotary", "num_kv_heads": 2, "activation": "swiglu", "norm": "rms", "layer_drop": 0.1},
        "attention": {"encoder": {"window": 8}, "decoder": {"window": 6}},
        "training": {"optimizer": "muon", "schedule": "cosine", "ema": 0.99},
    },
    "relative": {
        "model": {"positions": "relative", "norm_placement": "post", "attention_dropout": 0.1},
        "training": {"accumulate": 2, "label_smoothing": 0.1, "clip_norm": 1.0},
    },
    "additive": {
        "model": {"dropout": 0.1},
        "attention": {"cross": "additive"},
        "training": {"r_drop": 0.5, "batch_tokens": 256},
    },
    "delta": {"model": {"positions": "none"}, "attention": {"encoder": "linear", "decoder": "delta"}},
    "bfloat16": {
        "model": {"positions": "alibi", "activation": "geglu"},
        "training": {"precision": "bfloat16", "optimizer": "adafactor"},
    },
}
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy_alone": {"batch_size": 1},
    "beam": {"beam_size": 4, "n_best": 4},
    "beam_of_groups": {"beam_size": 4, "n_best": 2, "beam_groups": 2, "diversity_penalty": 0.5},
    "beam_gnmt": {"beam_size": 3, "length_penalty": 0.6, "length_penalty_kind": "gnmt", "coverage_penalty": 0.2},
    "beam_penalties": {"beam_size": 4, "repetition_penalty": 1.3, "no_repeat_ngram": 2, "min_new_tokens": 3},
    "beam_patience": {"beam_size": 4, "patience": 1.0, "max_new_tokens": 12},
    "sample": {"temperature": 0.9, "seed": 3},
    "sample_cut": {"temperature": 1.2, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "seed": 4, "n_best": 3},
    "prefix": {"beam_size": 2, "prefix": "two"},
    "required": {"beam_size": 4, "required": ["five"]},
    "forbidden": {"beam_size": 4, "forbidden": ["one", "two"]},
    "allowed": {"beam_size": 4, "allowed": ["one two three", "three two one", "nine"]},
}
SEARCHED = ("full", "rotary_window", "relative", "delta")


def pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """Rows of words and the same words backwards, of 1 to 12 words."""
    chance = random.Random(f"hashes/{seed}")
    rows = [[chance.choice(WORDS) for _ in range(chance.randint(1, 12))] for _ in range(count)]
    return [(" ".join(row), " ".join(reversed(row))) for row in rows]


def trained(name: str, folder: Path) -> antiphon.Model:
    """The model of one setting after 200 steps, from seed 0 on one thread."""
    setting = TRAININGS[name]
    recipe = {
        "data": {"train": pairs(1500, 0), "valid": pairs(40, 1)},
        "tokenizer": {"kind": "bpe", "vocab_size": 300},
        "model": {"preset": "tiny", "d_model": 64, **setting.get("model", {})},
        "training": {"max_steps": STEPS, "batch_tokens": 512, "lr": 2e-3, **setting.get("training", {})},
        "validation": {"every_steps": 100, "metrics": ["chrf"]},
        "output": str(folder / name),
    }
    if "attention" in setting:
        recipe["attention"] = setting["attention"]
    return antiphon.train(recipe, quiet=True).model


def of_weights(folder: Path) -> str:
    """The hash of all files of weights of a run, in order of their names."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.safetensors")):
        digest.update(str(file.relative_to(folder)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def of_answers(model: antiphon.Model, settings: dict[str, Any]) -> str:
    """The hash of all answers with their scores, alternatives included, and of a stream and forced scores."""
    rows = pairs(24, 2)
    digest = hashlib.sha256()
    for answer in model.generate([source for source, _ in rows], **settings):
        for one in (answer, *answer.alternatives):
            digest.update(one.text.encode() + b"\0" + struct.pack("<d", one.score))
    if not settings:
        for piece in model.stream(rows[0][0], beam_size=3):
            digest.update(piece.encode() + b"\0")
        sources, targets = zip(*rows, strict=True)
        for score in model.score(list(sources), list(targets)):
            digest.update(struct.pack("<d", score))
    return digest.hexdigest()[:16]


def report(name: str, value: str) -> None:
    print(f"{name}\t{value}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="training,search")
    parser.add_argument("--models", default=",".join(TRAININGS))
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in parsed.models.split(","):
            trained(name, folder)
            if "training" in parsed.only:
                report(f"weights {name}", of_weights(folder / name))
            if name not in SEARCHED or "search" not in parsed.only:
                continue
            for quantize in (None, "int8"):
                model = antiphon.load(folder / name, quantize=quantize)
                for search, settings in SEARCHES.items():
                    try:
                        value = of_answers(model, settings)
                    except antiphon.AntiphonError as error:
                        value = f"{type(error).__name__}: {str(error)[:120]}"
                    report(f"{name} {quantize or 'float32'} {search}", value)


if __name__ == "__main__":
    sys.exit(main())
