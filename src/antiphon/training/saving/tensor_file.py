"""Safetensors files as a sequence of buffers: written without a second copy of the tensors in memory.

    content = tensor_file(copied(weights))      # [header, bytes of the first tensor, …]
    b"".join(content)                           # what `safetensors.torch.save` makes of the same tensors

A tensor may be one piece of a larger one, with its offsets in it, as `torch.distributed.checkpoint` saves them: its
`HuggingFaceStorageReader` reads such files, and assembles the tensors from the pieces in all files of a folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from antiphon.errors import ModelError

Buffers = Sequence[bytes | memoryview]

TYPES = {  # their names in the format
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in TYPES.items()}


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, which later steps of the training do not change."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def tensor_file(tensors: Mapping[str, Tensor], *, offsets: Mapping[str, Sequence[int]] | None = None) -> Buffers:
    """The content of a safetensors file of contiguous CPU tensors; the buffers share their memory.

    `offsets`: where each tensor begins in the larger one of which it is a piece. ModelError for a type that the format
    does not have.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES:
            raise ModelError(
                f"`{name}` must have a type that safetensors files can hold, but has {tensor.dtype}. Convert it."
            )
    # The largest elements first, so that all are aligned.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), str(tensors[name].dtype), name))
    header: dict[str, object] = {}
    if offsets is not None:
        pieces = {name: {"saved_offsets": [*offsets[name]]} for name in names}
        header["__metadata__"] = {"DCP_SHARDING_INFO": json.dumps(pieces), "DCP_VERSION": "1.0", "format": "pt"}
    end = 0
    for name in names:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": [*tensor.shape], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *(_bytes(tensors[name]) for name in names)]


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data
