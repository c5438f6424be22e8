"""A loss of power during a run: what a snapshot refers to is on the disk with it."""

from __future__ import annotations

import json
from pathlib import Path

from disk_log import DiskLog, memory_folder, write_tree
from safetensors.torch import load_file

from antiphon.recipe import read_yaml
from antiphon.text import Tokenizer
from antiphon.training.resume import STATE
from antiphon.training.snapshot import SnapshotStore
from antiphon.workflows import train

WORDS = ("one", "two", "three")
PAIRS = [(f"{a} {b}", f"{b} {a}") for a in WORDS for b in WORDS]
MODEL = {"preset": "tiny", "d_model": 8, "ffn_dim": 8, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1}


def recorded(folder: Path) -> DiskLog:
    """The log of a run of six steps, with a snapshot and a validation after every second one."""
    with DiskLog(folder) as log:
        train(
            {
                "data": {"train": PAIRS, "valid": PAIRS[:2]},
                "tokenizer": {"kind": "characters"},
                "model": MODEL,
                "training": {"max_steps": 6, "save_every_steps": 2, "log_every_steps": 1, "keep_last": 2},
                "validation": {"every_steps": 2, "metrics": ["chrf"]},
                "generation": {"max_new_tokens": 4},
                "output": str(folder / "runs" / "mine"),
            },
            quiet=True,
        )
    return log


def faults(run: Path, snapshot: Path) -> list[str]:
    """What a resume from a snapshot would miss."""
    state = json.loads((snapshot / STATE).read_bytes())
    found = []
    for name, size in state["record"].items():
        if size > (run / name).stat().st_size if (run / name).exists() else size:
            found.append(f"rows of {name}")
    try:
        read_yaml((run / "config.yaml").read_text(encoding="utf-8"), "config.yaml")
        Tokenizer.load(run / "tokenizers" / "source.json").encode("one")
    except Exception as error:
        found.append(repr(error))
    if state["progress"]["best"] is not None:
        try:
            load_file(run / "model" / "model.safetensors")
            for name in ("config.json", "task.json", "generation.json", "tokenizer.json"):
                json.loads((run / "model" / name).read_bytes())
        except Exception as error:
            found.append(f"model: {error!r}")
    return found


def test_what_a_snapshot_needs_is_on_the_disk_with_it() -> None:
    """After every operation of the run, with all that was not synced missing or zeroed."""
    with memory_folder() as folder:
        log = recorded(folder / "disk")
        states = {}
        first = next(n for n, each in enumerate(log.operations) if each.other.endswith("/step-2"))
        for done, power in log.states(least=True):
            if done < first:
                continue
            remains = log.remains(done, power)
            states[tuple(sorted(remains.items()))] = remains
        whole = 0
        for number, remains in enumerate(states.values()):
            place = folder / str(number)
            write_tree(place, remains)
            run = place / "runs" / "mine"
            newest = SnapshotStore(run / "snapshots", keep=2).newest()
            if newest is not None:
                whole += 1
                assert faults(run, newest.folder) == []
        assert whole > 20
