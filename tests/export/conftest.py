"""One exported model for the tests of files, of the program in Python and of that in a browser."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from export.onnx_models import small_model

from antiphon.export.onnx import export_onnx, tracing
from antiphon.generation.model import Model
from antiphon.models.seq2seq import EncoderDecoder


@pytest.fixture(scope="package")
def model() -> Model:
    return small_model(positions="rotary", num_kv_heads=2, activation="swiglu", norm="rms", bias=False)


@pytest.fixture(scope="package")
def traced_once() -> Iterator[None]:
    """A network is traced once for all tests of a process: it takes seconds."""
    trace, known = tracing.trace, {}

    def cached(network: EncoderDecoder) -> tracing.Traced:
        if id(network) not in known:
            known[id(network)] = network, trace(network)
        return known[id(network)][1]

    tracing.trace = cached
    yield
    tracing.trace = trace


@pytest.fixture(scope="package")
def exported(traced_once: None, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of float32 with a merged decoder."""
    folder = tmp_path_factory.mktemp("onnx") / "out"
    export_onnx(model, folder)
    return folder


@pytest.fixture(scope="package", autouse=True)
def quiet_tracing() -> Iterator[None]:
    """torch.export logs each operator where a handler listens, as pytest's does, and logging takes longer than it."""
    log = logging.getLogger("torch.__trace")
    before, log.propagate = log.propagate, False
    yield
    log.propagate = before
