"""One exported model for the tests of files, of the program in Python and of that in a browser."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from export.onnx_models import small_model

from antiphon.export.onnx import export_onnx
from antiphon.generation.model import Model


@pytest.fixture(scope="package")
def model() -> Model:
    return small_model(positions="rotary", num_kv_heads=2, activation="swiglu", norm="rms", bias=False)


@pytest.fixture(scope="package")
def exported(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of float32 with a merged decoder."""
    folder = tmp_path_factory.mktemp("onnx") / "out"
    export_onnx(model, folder)
    return folder


@pytest.fixture(scope="package", autouse=True)
def quiet_tracing() -> Iterator[None]:
    """torch.export logs each operator as soon as a handler listens, as pytest's does, which takes longer than itself."""
    log = logging.getLogger("torch.__trace")
    before, log.propagate = log.propagate, False
    yield
    log.propagate = before
