"""Ranks: who decides, what is refused, and how errors end. One world of two forked ranks runs everything once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from training.runs import make_loop
from worlds import run_world

from antiphon.batch import Example
from antiphon.config import AttentionConfig, ModelConfig, TrainingConfig
from antiphon.distributed.agreement import exchange, together
from antiphon.distributed.world import current_world
from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.training.loop import Loop
from antiphon.training.parallel import choice
from antiphon.training.parallel.choice import parallelize
from antiphon.training.parallel.single import SingleProcess

MODEL = ModelConfig(preset="tiny", d_model=16, ffn_dim=24, num_heads=2, dropout=0.1)
ROWS = [Example([5, 6, 2], [6, 5, 2], 0), Example([7, 2], [7, 2], 1)]


class Counting(nn.Module):
    """A layer with a running count, as a mixer of one's own may have."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.inner(x)


def small_network() -> EncoderDecoder:
    return build_network(MODEL, AttentionConfig(), source_vocab=12, target_vocab=12, shared=True)


def dealt(network: EncoderDecoder | None = None, **settings: Any) -> tuple[str, str]:
    """The kind that is chosen, or the error, and the notes."""
    training = TrainingConfig(max_steps=4, **settings)
    try:
        made, notes = parallelize(
            network or small_network(), training, current_world(), lambda: ROWS, pad_id=0, start_id=1
        )
    except ConfigError as error:
        return "", str(error)
    return made.kind, " ".join(notes)


def message_of(rank: int, *failing: int) -> str:
    """What is raised on this rank when those `failing` do, before and after the others have exchanged something."""
    try:
        with together(current_world()):
            if rank in failing:
                raise DataError(f"line 3 is wrong (seen by {rank})")
            exchange(current_world(), rank)
    except AntiphonError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def stopping_loop(folder: Path, rank: int) -> tuple[int, str]:
    """Rank 1 alone gets SIGTERM in step 3: the step at which this rank ends, and how."""
    loop = ranked_loop(folder, "stopped", max_steps=9)
    real = loop.step

    def step() -> None:
        if loop.progress.step == 2 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        real()

    loop.step = step  # type: ignore[method-assign]
    try:
        loop.run()
    except SystemExit as ended:
        return loop.progress.step, f"{ended.code}"
    return loop.progress.step, "ended"


def ranked_loop(folder: Path, name: str, **settings: Any) -> Loop:
    """A loop of the ranks under DDP; rank 0 has the folder `name`, the others folders of their own."""
    world = current_world()
    place = folder / (name if world.main else f"{name}-{world.rank}")

    def deal(network: EncoderDecoder, training: TrainingConfig) -> SingleProcess:
        return parallelize(network, training, world, lambda: ROWS, pad_id=0, start_id=1)[0]

    return make_loop(place, deal=deal, save_every_steps=100, accumulate=3, **settings)


def everything(folder: Path) -> dict[str, Any]:
    """What one rank finds."""
    world = current_world()
    changing = small_network()
    layer = changing.encoder.layers[0]
    layer.ffn = Counting(layer.ffn)
    with patch.object(choice, "available_bytes", lambda device: 10**6 if world.rank else 10**12):
        little = dealt()
    with patch.object(choice, "available_bytes", lambda device: None):
        enough = dealt(accumulate=2)
    with patch("antiphon.distributed.agreement.PATIENCE_SECONDS", 0.0):
        messages = [message_of(world.rank, *failing) for failing in ((), (0,), (1,), (0, 1))]
    return {
        "auto": [little, enough],
        "muon": dealt(parallel="fsdp", optimizer="muon")[0],
        "adafactor": dealt(parallel="fsdp", optimizer="adafactor"),
        "lion": dealt(parallel="fsdp", optimizer="lion")[0],
        "adafactor_ddp": dealt(parallel="ddp", optimizer="adafactor")[0],
        "buffers": dealt(changing, parallel="ddp"),
        "restored": float(layer.ffn.seen),
        "offload_ddp": dealt(parallel="ddp", cpu_offload=True),
        "node": dealt(parallel="fsdp", shard_within="node")[0],
        "offload": dealt(parallel="fsdp", cpu_offload=True)[0],
        "messages": messages,
        "stopped": stopping_loop(folder, world.rank),
        "files": sorted(path.name for path in (folder / f"stopped-{world.rank}").glob("*")) if world.rank else [],
    }


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_world(2, everything, tmp_path_factory.mktemp("ranks"))


def test_the_choice_is_measured_and_the_same_on_all_ranks(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        little, enough = found["auto"]
        assert little[0] == "fsdp" and "with ddp a rank needs" in little[1] and "accumulate` is 1" in little[1]
        assert enough[0] == "ddp" and "accumulate" not in enough[1]
        assert found["lion"] == found["node"] == found["offload"] == "fsdp"


def test_an_optimizer_that_cannot_be_sharded_is_refused(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        kind, message = found["adafactor"]
        assert not kind and "but adafactor does not" in message and "`training.parallel: ddp`" in message
        assert found["adafactor_ddp"] == "ddp" and found["muon"] == "fsdp"


def test_a_layer_that_changes_its_buffers_is_refused_and_its_buffers_are_as_before(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        kind, message = found["buffers"]
        assert not kind and "`Counting` changes its buffer `seen` (`encoder.layers.0.ffn.seen`)" in message
        assert found["restored"] == 0.0
        assert "`training.cpu_offload` needs `training.parallel` to be fsdp" in found["offload_ddp"][1]


def test_an_error_of_one_rank_is_that_of_all(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        nothing, first, second, both = found["messages"]
        assert nothing == ""
        assert first == both == "DataError: line 3 is wrong (seen by 0)"
        assert second == "DataError: rank 1: line 3 is wrong (seen by 1)"


def test_a_signal_to_one_rank_stops_all_after_the_same_step(ranks: list[dict[str, Any]]) -> None:
    assert [found["stopped"] for found in ranks] == [(3, "143")] * 2
    assert ranks[1]["files"] == []  # rank 0 alone writes
