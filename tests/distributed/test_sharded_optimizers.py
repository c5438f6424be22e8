"""The optimizers offered for FSDP2 update sharded weights as whole ones; others are refused before training."""

from __future__ import annotations

import torch
from worlds import run_world

from antiphon.config import TrainingConfig
from antiphon.distributed.world import current_world
from antiphon.errors import ConfigError
from antiphon.training.parallel.updates import check_shardable

OFFERED = ("adamw", "lion", "muon", "sgd", "schedule_free")


def refusals(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            check_shardable(TrainingConfig(optimizer=name), current_world(), torch.device("cpu"))
        except ConfigError as error:
            found[name] = str(error)
    return found


def test_what_the_refusal_offers_is_not_refused() -> None:
    for found in run_world(2, refusals, (*OFFERED, "adafactor")):
        assert list(found) == ["adafactor"]
        assert "Take adamw, lion, muon, sgd or schedule_free, or" in found["adafactor"]
