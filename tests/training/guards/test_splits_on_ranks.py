"""Micro-batches in parts on two ranks: the run of one process, under DDP and FSDP2; and what a rank cannot repeat."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import worlds
from training.guards.test_guarded_runs import Memory
from training.runs import MODEL, Reversals, make_loop
from worlds import run_world

from antiphon.batch import Example
from antiphon.config import TrainingConfig
from antiphon.distributed.world import current_world
from antiphon.errors import RestartError
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.training.guards.protection import MEMORY
from antiphon.training.guards.splitting import SplitSizes
from antiphon.training.loop import Loop
from antiphon.training.parallel.ddp import DataParallel
from antiphon.training.parallel.fsdp import FullySharded
from antiphon.training.parallel.shards import whole
from antiphon.training.parallel.single import SingleProcess

pytestmark = pytest.mark.timeout(900)  # the module's fixture has all runs
STEPS, ALL = 3, 10**9
SHAPE = replace(MODEL, encoder_layers=1)
Found = dict[str, Any]


class Even(Reversals):
    """Batches of 6 rows of 10 positions: what one rank cannot compute, no rank can."""

    def __next__(self) -> list[Example]:
        return [
            Example([4 + each.index, 5, 6, 7, 2], [7, 6, 5, each.index + 4, 2], each.index)
            for each in super().__next__()
        ]


def ranked_loop(folder: Path, kind: str, *, accumulate: int, even: bool = False) -> Loop:
    def deal(network: EncoderDecoder, settings: TrainingConfig) -> SingleProcess:
        kinds = {"one": SingleProcess, "ddp": DataParallel, "fsdp": FullySharded}
        return kinds[kind](network.double(), settings, current_world())

    steps: dict[str, Any] = {"max_steps": STEPS, "warmup_steps": 2, "save_every_steps": 2, "log_every_steps": 1}
    loop = make_loop(folder, model=SHAPE, deal=deal, accumulate=accumulate, **steps)
    if even:
        loop.parts.batches.__class__ = Even
    return loop


def weights_after(loop: Loop) -> dict[str, torch.Tensor]:
    return {name: whole(each.detach()).clone() for name, each in loop.network.named_parameters()}


def trained(folder: Path, kind: str, *, accumulate: int = 3, split: SplitSizes | None = None) -> Found:
    loop = ranked_loop(folder, kind, accumulate=accumulate, even=accumulate == 2)
    if split is not None:
        loop.progress.protection.split = split
    loop.run()
    return {"weights": weights_after(loop), "split": loop.progress.protection.split}


def repaired(folder: Path) -> Found:
    """DDP: rank 1 runs out of memory in passes that send nothing."""
    loop = ranked_loop(folder, "ddp", accumulate=4)
    memory = Memory(loop, 30, "forward") if current_world().rank == 1 else None
    loop.run()
    failures = 0 if memory is None else memory.failures
    return {"weights": weights_after(loop), "failures": failures, "split": loop.progress.protection.split}


def restarted(folder: Path, kind: str) -> Found:
    """Memory runs out on both ranks where gradients or weights are exchanged; then the run is resumed."""
    loop = ranked_loop(folder, kind, accumulate=2, even=True)
    memory = Memory(loop, ALL, "backward" if kind == "ddp" else "forward")
    loop.step()
    loop.save()
    loop.parts.store.wait()
    memory.most = 30
    try:
        loop.run()
        said = ""
    except RestartError as error:
        said = str(error)
    kept = json.loads((folder / MEMORY).read_text())
    current_world().barrier()
    again = ranked_loop(folder, kind, accumulate=2, even=True)
    memory = Memory(again, 30, "backward" if kind == "ddp" else "forward")
    found = {"said": said, "kept": kept, "resumed": again.resume()}
    again.run()
    return {**found, "failures": memory.failures, "weights": weights_after(again)}


def on_a_rank(folder: Path) -> dict[str, Found]:
    split = SplitSizes(fails_from=36, part_most=24)
    found = {kind: trained(folder / kind, kind, split=split) for kind in ("ddp", "fsdp")}
    found["repaired"] = repaired(folder / "repaired")
    return found | {f"restarted {kind}": restarted(folder / f"restarted-{kind}", kind) for kind in ("ddp", "fsdp")}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Found]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "SECONDS", 500.0)  # several runs, on a machine that others may use
        return run_world(2, on_a_rank, tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, torch.Tensor]]:
    """The weights of one process, by the number of micro-batches of a step."""
    folder = tmp_path_factory.mktemp("one")
    return {n: trained(folder / str(n), "one", accumulate=n)["weights"] for n in (2, 3, 4)}


def assert_close(found: Found, wanted: dict[str, torch.Tensor]) -> None:
    for name, weight in wanted.items():
        torch.testing.assert_close(found["weights"][name], weight, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_parts_on_ranks_are_the_run_of_one_process(kind: str, ranks: Any, wanted: Any) -> None:
    for rank in ranks:
        assert_close(rank[kind], wanted[3])


def test_a_rank_computes_again_what_it_has_not_sent(ranks: Any, wanted: Any) -> None:
    one, two = (rank["repaired"] for rank in ranks)
    assert one["failures"] == 0 and two["failures"] > 0
    assert one["split"].fails_from == two["split"].fails_from  # agreed before each snapshot
    assert_close(one, wanted[4])
    assert_close(two, wanted[4])


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_what_cannot_be_computed_again_is_split_in_the_next_start(kind: str, ranks: Any, wanted: Any) -> None:
    for rank in (each[f"restarted {kind}"] for each in ranks):
        assert "memory ran out in step" in rank["said"] and "Continue with `resume=True`" in rank["said"]
        assert (
            rank["kept"]["fails_from"] == 31 and rank["failures"] == 0 and rank["resumed"] and "\n" not in rank["said"]
        )
        assert_close(rank, wanted[2])
