"""A GPU that fails, and memory that runs out, in one line: what is kept, and how the run continues."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from antiphon.errors import NonFiniteError, WorkError
from antiphon.training.guards.failures import device_failure, named_failures
from antiphon.training.snapshot import SnapshotStore

HINTS = (
    "\nSearch for `cudaErrorLaunchFailure' in https://docs.nvidia.com for more information.\n"
    "CUDA kernel errors might be asynchronously reported at some other API call."
)
LOST = [
    "CUDA error: unspecified launch failure",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: unknown error",
    "CUDA error: the launch timed out and was terminated",
    "CUDA error: hardware stack error",
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    "CUDA error: invalid access of peer GPU memory over nvlink or a hardware error",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, ...)`",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "HIP error: unspecified launch failure",
    "CUDA error: device-side assert triggered",
    "CUDA error: an illegal memory access was encountered",
]


def store(folder: Path, *steps: int) -> SnapshotStore:
    made = SnapshotStore(folder / "snapshots", keep=None)
    for step in steps:
        made.save(step, {"state.json": b"{}"})
    return made


@pytest.mark.parametrize("message", LOST)
def test_a_gpu_that_fails(message: str, tmp_path: Path) -> None:
    kinds = [RuntimeError, getattr(torch, "AcceleratorError", RuntimeError)]
    for number, kind in enumerate(kinds):
        kept = store(tmp_path / str(number), 10, 20)
        with pytest.raises(WorkError) as caught, named_failures(torch.device("cuda", 1), lambda: 24, kept):
            raise kind(message + HINTS)
        text = str(caught.value)
        assert "\n" not in text and caught.value.exit_code == 1
        assert text.startswith(f"the GPU `cuda:1` failed after step 24 ({message}); the snapshot of step 20 is kept. ")
        assert "Continue with `resume=True`" in text
        assert ("run on the CPU" in text) == ("assert" in message or "illegal" in message)


def test_memory_that_runs_out_outside_of_a_step(tmp_path: Path) -> None:
    wanted = r"^memory ran out after step 3 \(CUDA out of memory.*\); there is no snapshot"
    failures = named_failures(torch.device("cuda"), lambda: 3, store(tmp_path))
    with pytest.raises(WorkError, match=wanted), failures:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx`"),
        NonFiniteError("the loss"),
        ValueError("CUDA error: unspecified launch failure"),
    ],
)
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Path) -> None:
    assert device_failure(error) is None
    with pytest.raises(type(error)) as caught, named_failures(torch.device("cpu"), lambda: 3, store(tmp_path)):
        raise error
    assert caught.value is error
