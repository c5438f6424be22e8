"""The tensors of a snapshot: saved whole or in pieces, and read into tensors of any world.

    files = snapshot_files({"weights": …, "optimizer": …}, world)        # of this rank
    stored = StoredTensors(snapshot.folder, "weights")
    stored.shapes                                                         # {"encoder.final.weight": (512,), …}
    stored.fill(learned_weights(network))                                 # whole tensors, or this rank's shards

Whole tensors (one process, DDP) are in one file of each kind, which rank 0 writes. Tensors that are sharded over ranks
(FSDP2) are saved in the format of `torch.distributed.checkpoint` with safetensors: each rank writes its pieces of all
kinds to a file of its own. That library reads them, for any other sharding. Nothing is pickled.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import torch
from safetensors import safe_open
from torch import Tensor

from antiphon.distributed.world import World
from antiphon.training.saving.tensor_file import TYPES, Buffers, copied, tensor_file

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

SUFFIX = ".safetensors"
Kinds = Mapping[str, Mapping[str, Tensor]]


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is distributed over ranks."""
    module = sys.modules.get("torch.distributed.tensor")  # seconds to import, and without it there is none
    return module is not None and isinstance(tensor, module.DTensor)


def snapshot_files(kinds: Kinds, world: World) -> dict[str, Buffers]:
    """The files with this rank's part of the tensors, which are copied: later steps do not change them."""
    if any(is_sharded(tensor) for tensors in kinds.values() for tensor in tensors.values()):
        return {_shard_name(world): _pieces(kinds, world)}
    if not world.main:
        return {}
    return {f"{kind}{SUFFIX}": tensor_file(copied(tensors)) for kind, tensors in kinds.items()}


def saved_bytes(kinds: Kinds) -> int:
    """The size of all tensors together, those of other ranks included."""
    return sum(tensor.numel() * tensor.element_size() for tensors in kinds.values() for tensor in tensors.values())


class StoredTensors:
    """The tensors of one kind in a snapshot folder."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.file, self.folder, self.kind = folder / f"{kind}{SUFFIX}", folder, kind
        self.whole = not any(folder.glob(f"{_SHARD}*{SUFFIX}"))
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        if self.whole:
            self._read_header()
        else:
            self._read_headers()

    @property
    def where(self) -> str:
        """The file, or the folder of the pieces, for messages."""
        return str(self.file if self.whole else self.folder)

    def fill(self, targets: Mapping[str, Tensor]) -> None:
        """Overwrite `targets`, whole tensors or shards, by the saved values. They have the saved names and shapes."""
        if not self.whole:
            from torch.distributed.checkpoint import HuggingFaceStorageReader, load

            wanted = {f"{self.kind}.{name}": target.detach() for name, target in targets.items()}
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="torch.distributed is disabled")
                # Each rank reads what it needs: no exchange, as the headers tell where each piece is.
                load(wanted, storage_reader=HuggingFaceStorageReader(str(self.folder)), no_dist=True)
            return
        if not targets:
            return
        with safe_open(self.file, framework="pt") as tensors, torch.no_grad():
            for name, target in targets.items():
                _fill(target.detach(), tensors, name)

    def read(self) -> dict[str, Tensor]:
        """All tensors, whole, on the CPU."""
        tensors = {name: torch.empty(shape, dtype=self.dtypes[name]) for name, shape in self.shapes.items()}
        self.fill(tensors)
        return tensors

    def _read_header(self) -> None:
        if not self.file.is_file():
            return
        with safe_open(self.file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (not a mapping)
                piece = tensors.get_slice(name)
                self.shapes[name] = tuple(piece.get_shape())
                self.dtypes[name] = TYPES[piece.get_dtype()]

    def _read_headers(self) -> None:
        from torch.distributed.checkpoint import HuggingFaceStorageReader, TensorStorageMetadata

        found = HuggingFaceStorageReader(str(self.folder)).read_metadata().state_dict_metadata
        for full, row in found.items():
            kind, _, name = full.partition(".")
            if kind == self.kind and isinstance(row, TensorStorageMetadata):
                self.shapes[name], self.dtypes[name] = tuple(row.size), row.properties.dtype


_SHARD = "shard-"


def _shard_name(world: World) -> str:
    return f"{_SHARD}{world.rank + 1:05}-of-{world.size:05}{SUFFIX}"


def _pieces(kinds: Kinds, world: World) -> Buffers:
    """The file of this rank's pieces. Of copies on several ranks, the first rank that has one saves it."""
    pieces: dict[str, Tensor] = {}
    offsets: dict[str, list[int]] = {}
    for kind, tensors in kinds.items():
        for name, tensor in tensors.items():
            own = _own_piece(tensor, world)
            if own is not None:
                pieces[f"{kind}.{name}"], offsets[f"{kind}.{name}"] = own
    return tensor_file(copied(pieces), offsets=offsets)


def _own_piece(tensor: Tensor, world: World) -> tuple[Tensor, list[int]] | None:
    """The piece of `tensor` that this rank saves, and where it begins; None if it saves nothing of it."""
    if not is_sharded(tensor) or tensor.numel() == 0:
        return (tensor, [0] * tensor.dim()) if world.main else None
    local, offset = _local(tensor)
    place = tensor.device_mesh.get_coordinate()
    if place is None:  # this rank is not in the mesh
        return None
    copies = [where for where, kind in zip(place, tensor.placements, strict=True) if kind.is_replicate()]
    return None if any(copies) or local.numel() == 0 else (local, offset)


def _local(tensor: DTensor) -> tuple[Tensor, list[int]]:
    """This rank's shard of a distributed tensor, and where it begins."""
    (chunk,) = tensor.__create_chunk_list__()
    return tensor.to_local(), [*chunk.offsets]


def _fill(target: Tensor, tensors: safe_open, name: str) -> None:
    """Copy a saved whole tensor, or the part of it that `target` has."""
    if not is_sharded(target):
        target.copy_(tensors.get_tensor(name))
        return
    local, offset = _local(target)
    part = tuple(slice(begin, begin + size) for begin, size in zip(offset, local.shape, strict=True))
    if local.numel():
        local.copy_(tensors.get_slice(name)[part])
