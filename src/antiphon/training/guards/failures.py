"""A GPU that fails, and memory that runs out where nothing can be split, as one line: what was kept, how to continue.

    with named_failures(device, lambda: progress.step, store):
        train()

An error of CUDA other than a lack of memory is final for its process: each later call fails too. So the run ends, and
its next start, by hand or by torchrun, goes on from the newest snapshot. The messages are those of CUDA's
`cudaGetErrorString`, cuBLAS, cuDNN and ROCm's HIP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from antiphon.errors import AntiphonError, RestartError, WorkError, argument, memory_ran_out
from antiphon.training.snapshot import SnapshotStore

_PREFIXES = ("CUDA error", "HIP error", "cuDNN error", "CUDA driver error", "NVML")
_STATUS = ("CUBLAS_STATUS_", "CUDNN_STATUS_", "CUFFT_", "CUSPARSE_STATUS_", "CUSOLVER_STATUS_")
_SETTINGS = ("STATUS_NOT_SUPPORTED", "STATUS_INVALID_VALUE", "STATUS_BAD_PARAM", "no kernel image", "out of memory")
_OUR_FAULT = ("device-side assert", "illegal memory access", "misaligned address")


def device_failure(error: BaseException) -> str | None:
    """The first line of the message of a GPU that failed; None for any other error."""
    if not isinstance(error, RuntimeError) or isinstance(error, AntiphonError) or memory_ran_out(error):
        return None
    first = _first_line(error)
    if any(words in first for words in _SETTINGS):
        return None
    return first if any(words in first for words in (*_PREFIXES, *_STATUS)) else None


@contextmanager
def named_failures(device: torch.device, step: Callable[[], int], store: SnapshotStore) -> Iterator[None]:
    """Raise RestartError, of one line, for a GPU that fails, and WorkError for memory that runs out. `step` returns the
    number of finished steps."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, AntiphonError):
            raise
        where, going_on = f"after step {step()}", argument("resume=True", flag="--resume")
        if (failure := device_failure(error)) is not None:
            remedy = (
                "This is more often a fault of a program than of the GPU: an index beyond a table, in a layer of your "
                "own for example; run on the CPU to see it"
                if any(words in failure for words in _OUR_FAULT)
                else "If it fails again, look for the GPU's errors in the system's log (Xid) and in nvidia-smi -q"
            )
            raise RestartError(
                f"the GPU `{device}` failed {where} ({failure}); {last_kept(store)}. Continue with {going_on}. "
                f"{remedy}."
            ) from error
        if memory_ran_out(error):
            raise WorkError(
                f"memory ran out {where} ({_first_line(error)}); {last_kept(store)}. Free memory, then continue with "
                f"{going_on}, or start a new run with a smaller `training.batch_tokens`."
            ) from error
        raise


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0].strip()


def last_kept(store: SnapshotStore) -> str:
    """What a failed run still has, in words."""
    steps = store.steps()
    return f"the snapshot of step {steps[-1]} is kept" if steps else "there is no snapshot yet"
