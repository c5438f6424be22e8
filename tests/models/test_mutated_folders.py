"""Mutants of each file of a model folder: each is a model or one line that refuses it, and nothing else happens.

Row 11 of the project's table of promises. Tokenizer files: tests/text/test_loaded.py and test_pretrained_hostile.py;
manifests of snapshots: tests/training/test_hostile_snapshots.py.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from counts import parts
from models import hostile
from torture.figures import FigureRecorder

THEIRS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
OURS = ("config.json", "generation.json", "task.json", "tokenizer.json", "model.safetensors")
CASES = [("t5", file) for file in THEIRS] + [("bart", file) for file in THEIRS[::4]] + [("ours", file) for file in OURS]


@pytest.mark.parametrize("seeds", parts("hostile_files", most=1000))
@pytest.mark.parametrize(("kind", "file"), CASES)
def test_mutants_are_a_model_or_one_line(
    kind: str, file: str, seeds: range, wholes: dict[str, Path], tmp_path: Path, figures: FigureRecorder
) -> None:
    folder = tmp_path / kind
    shutil.copytree(wholes[kind], folder)
    content = (folder / file).read_bytes()
    mutate = hostile.mutated_tensors if file.endswith(".safetensors") else hostile.mutated_json
    refused: dict[bytes, bool] = {}  # by mutant: some come more than once
    made = [mutate(content, random.Random(f"{kind} {file} {seed}")) for seed in seeds]
    for seed, mutant in zip(seeds, made, strict=True):
        if mutant in refused:
            continue
        (folder / file).write_bytes(mutant)
        try:
            with hostile.watched(folder):
                refused[mutant] = hostile.outcome(folder) is not None
        except BaseException as error:
            raise AssertionError(f"mutant {seed} of {kind}/{file}") from error
    assert sum(refused[mutant] for mutant in made) > len(seeds) // 5 or file in ("task.json", "tokenizer_config.json")
    figures.add(f"mutants of {Path(file).name}", len(seeds))
    figures.most("seconds of the slowest", hostile.longest())
