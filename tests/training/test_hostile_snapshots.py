"""Snapshots of others: a manifest is data from a file, and no name in it leads out of its folder.

Rows 11 (fuzzed files), 12 (bombs) and 13 (paths) of the project's table of promises, for our own manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from counts import parts
from models import hostile
from torture.figures import FigureRecorder

from antiphon.training.saving.files import damage, manifest_file, read_row
from antiphon.training.snapshot import MANIFEST, SnapshotStore

FILES = {"weights.safetensors": bytes(range(256)), "state.json": b'{"step": 1}'}
Change = Callable[[Path], object]


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    """Two snapshots; the newer one is what a test breaks."""
    lines: list[str] = []
    store = SnapshotStore(tmp_path / "run" / "snapshots", keep=None, say=lines.append)
    for step in (1, 2):
        store.save(step, FILES)
    (tmp_path / "run" / "outside.safetensors").write_bytes(FILES["weights.safetensors"])
    return store


def sealed(rows: Any) -> bytes:
    """A manifest whose own digest is right, whatever is in it."""
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    return json.dumps({"files": rows, "sha256": digest}).encode()


def passed_over(store: SnapshotStore, **limits: float) -> str:
    """The fault of the newer snapshot, for which the older one is used."""
    with hostile.watched(store.folder, **limits):  # type: ignore[arg-type]
        found = store.newest()
        fault = damage(store.folder / "step-2")
    assert found is not None and found.step == 1 and fault is not None
    assert len(fault.splitlines()) == 1 and fault.isprintable() and len(fault) < 300, fault
    return fault


def test_a_sealed_manifest_is_one_of_ours(store: SnapshotStore) -> None:
    folder = store.folder / "step-2"
    rows = {name: read_row(folder / name) for name in FILES}
    assert json.loads(manifest_file(rows)) == json.loads(sealed(rows)) == json.loads((folder / MANIFEST).read_bytes())


@pytest.mark.parametrize("seeds", parts("hostile_files", most=1000))
def test_mutants_of_a_manifest(seeds: range, store: SnapshotStore, figures: FigureRecorder) -> None:
    """Each is found, or means what the manifest meant; half of them have a digest that is right."""
    file = store.folder / "step-2" / MANIFEST
    content, whole = file.read_bytes(), 0
    rows = json.dumps(json.loads(content)["files"]).encode()
    for seed in seeds:
        dice = random.Random(f"manifest {seed}")
        if seed % 2:
            made = hostile.mutated_json(content, dice)
        else:
            try:
                made = sealed(json.loads(hostile.mutated_json(rows, dice)))
            except (ValueError, RecursionError):
                made = b"{"
        file.write_bytes(made)
        with hostile.watched(store.folder):
            found, fault = store.newest(), damage(file.parent)
        assert found is not None and found.step == (1 if fault else 2), seed
        assert fault is None or (len(fault.splitlines()) == 1 and fault.isprintable() and len(fault) < 300), seed
        whole += fault is None
    assert whole < len(seeds) // 2
    figures.add("mutants of a manifest", len(seeds))


def test_names_in_a_manifest_are_names_not_paths(store: SnapshotStore, figures: FigureRecorder) -> None:
    """The file that a path names is there, with the right digest: only the name can refuse it."""
    folder = store.folder / "step-2"
    good, row = read_row(folder / "weights.safetensors"), read_row(folder / "state.json")
    outside = str(store.folder.parent / "outside.safetensors")
    odd = [
        "../../outside.safetensors",
        outside,
        "../step-1/weights.safetensors",
        "./weights.safetensors",
        f"../step-2/{MANIFEST}",
    ]
    dice, pieces = (
        random.Random(0),
        ["..", ".", "/", "\\", "\x00", "~", "C:", "", " ", "\n", "step-1", "\x1b[2J", "\u202e"],
    )
    ends = ["outside.safetensors", "weights.safetensors", "WEIGHTS.SAFETENSORS", "\u2024\u2024/x.safetensors"]
    while len(odd) < 500:
        odd.append(dice.choice("/\\").join([*dice.choices(pieces, k=dice.randint(1, 4)), dice.choice(ends)]))
    for name in odd:
        (folder / MANIFEST).write_bytes(sealed({"state.json": row, "weights.safetensors": good, name: good}))
        assert "is no name of a file" in passed_over(store), name
    figures.add("names in a manifest", len(odd))


def link(target: str) -> Change:
    def make(file: Path) -> None:
        file.unlink()
        file.symlink_to(target)

    return make


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def folder_of(file: Path) -> None:
    file.unlink()
    file.mkdir()


BOMBS: dict[str, Change] = {
    "endless": link("/dev/zero"),
    "of another folder": link("../../outside.safetensors"),
    "of itself": link("weights.safetensors"),
    "a pipe": pipe,
    "a folder": folder_of,
    "a terabyte": lambda file: os.truncate(file, 2**40),
}


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("bomb", BOMBS)
def test_no_file_is_waited_for_or_read_without_end(
    bomb: str, name: str, store: SnapshotStore, figures: FigureRecorder
) -> None:
    BOMBS[bomb](store.folder / "step-2" / name)
    began = time.process_time()
    assert name in passed_over(store, most_bytes=300 * 2**20, most_seconds=2)
    figures.add("bombs in a snapshot", 1)
    figures.most("seconds of the processor", time.process_time() - began)


@pytest.mark.parametrize(
    "rows",
    [{"x": {"size": float("inf"), "sha256": ""}}, {"x": {"size": 10**400, "sha256": ""}}, {"x": []}, [], "x", 5, None],
)
def test_rows_that_are_none(rows: object, store: SnapshotStore) -> None:
    (store.folder / "step-2" / MANIFEST).write_bytes(sealed(rows))
    passed_over(store)


def test_a_manifest_of_a_million_files(store: SnapshotStore) -> None:
    rows = b",".join(b'"f%d":{"size":0,"sha256":""}' % number for number in range(10**6))
    (store.folder / "step-2" / MANIFEST).write_bytes(b'{"files":{%b},"sha256":""}' % rows)
    passed_over(store, most_bytes=300 * 2**20, most_seconds=2)
