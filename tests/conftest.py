"""What every test shares: one thread (xdist runs two processes on two cores), the data folder, the counts in force."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported anywhere; child processes of the tests inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import counts
import pytest
from torture.figures import FigureRecorder
from torture.resume import VARIABLE, ResumeFile, ResumePlugin

RESUME = os.environ.pop(VARIABLE, None)  # of `make torture`; tests that run pytest themselves record nothing
DATA_FOLDER = Path(os.environ.get("ANTIPHON_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def pytest_report_header() -> str:
    return counts.describe()


def pytest_configure(config: pytest.Config) -> None:
    """Tests of `make torture` record what they give as soon as they end."""
    if RESUME is not None:
        config.pluginmanager.register(ResumePlugin(ResumeFile(Path(RESUME))), "torture-resume")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their argument: those that a library writes may hold the time, and the processes of
    pytest-xdist must find the same names."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test marked `gpu` or `data` is skipped, with the reason, where there is none."""
    reasons = {}
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            reasons["gpu"] = "needs a CUDA device, none here"
    if not DATA_FOLDER.is_dir():
        reasons["data"] = f"needs the data sets in {DATA_FOLDER} (set ANTIPHON_DATA)"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two workers with all threads each would fight for the cores."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


@pytest.fixture
def data_folder() -> Path:
    """The folder of data sets ($ANTIPHON_DATA, default ../shared/data); skips where it is absent."""
    if not DATA_FOLDER.is_dir():
        pytest.skip(f"needs the data sets in {DATA_FOLDER} (set ANTIPHON_DATA)")
    return DATA_FOLDER


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> FigureRecorder:
    """Where a test says how much it tried and how large the largest difference was; `make torture` records it."""
    return FigureRecorder(request.node.user_properties)
