"""What the ranks of a run share: the tokenizers of rank 0, and the weights of the finished model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from antiphon.distributed.agreement import exchange
from antiphon.distributed.world import World
from antiphon.text import Tokenizer
from antiphon.workflows.tokenizers import saved_tokenizers

TokenizerPair = tuple[Tokenizer, Tokenizer]


def shared_tokenizers(world: World, build: Callable[[], TokenizerPair]) -> TokenizerPair:
    """The source and the target tokenizer that `build` makes on rank 0, on every rank. One object if they are one."""
    own = build() if world.main else None
    if world.size == 1 and own is not None:
        return own
    files = exchange(world, None if own is None else _packed(own))[0]
    assert files is not None
    return own or _unpacked(files)


def _packed(pair: TokenizerPair) -> dict[str, bytes]:
    """The files of two tokenizers, by their names."""
    with tempfile.TemporaryDirectory(prefix="antiphon-tokenizers-") as name:
        folder = Path(name)
        pair[0].save(folder, "source")
        if pair[1] is not pair[0]:
            pair[1].save(folder, "target")
        return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def _unpacked(files: dict[str, bytes]) -> TokenizerPair:
    with tempfile.TemporaryDirectory(prefix="antiphon-tokenizers-") as name:
        for file, content in files.items():
            (Path(name) / file).write_bytes(content)
        return saved_tokenizers(Path(name))


def rank_device(device: torch.device) -> torch.device:
    """The GPU of this rank, if `device` is a GPU without a number and a launcher has started several ranks."""
    import os

    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in os.environ:
        return device
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
