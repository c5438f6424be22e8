"""Runs as a process of its own: the tensors of one pickled checkpoint, written as a safetensors file.

    python -I pickled_process.py pytorch_model.bin model.safetensors

The one place that reads a pickle. PyTorch's restricted reader (`weights_only`) builds tensors and plain containers and
calls nothing else; should that have a fault, it is in a process that ends with this file, within limits of memory, time
and the size of files. Imports nothing of Antiphon; an error is one line on standard error, with exit code 1.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

EXTRA_MEMORY_BYTES = 2**30  # of memory, beside three times the file's size
SECONDS, BYTES_PER_SECOND = 60, 2**22


def limit(size: int) -> None:
    """What this process may still take to read a file of `size` bytes. Raises OSError where it has less already."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + 3 * size + EXTRA_MEMORY_BYTES)
    used = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
    _lower(resource.RLIMIT_CPU, used + SECONDS + size // BYTES_PER_SECOND)
    # Tensors that share memory are written once each, which is bounded too.
    _lower(resource.RLIMIT_FSIZE, 4 * size + 2**20)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def tensors(content: object) -> dict[str, Tensor]:
    """The tensors of a state dict, each with memory of its own. Raises ValueError for anything else."""
    if not isinstance(content, dict) or not content:
        raise ValueError(f"it must hold tensors by name, but holds {type(content).__name__}")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"it must hold tensors by name, but `{name!s:.100}` is {type(tensor).__name__}")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise ValueError(f"its tensors must be dense, but `{name:.100}` is not")
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in content.items()}


def main() -> None:
    """Convert the file named first into the one named second."""
    source, target = sys.argv[1:]
    limit(os.path.getsize(source))
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
        save_file(tensors(content), target, metadata={"format": "pt"})
    except Exception as error:  # whatever the reader meets in a file of others
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SystemExit(reason) from None


if __name__ == "__main__":
    main()
