"""The command line in this process: a small model with random weights, and a way to run a command on given input."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from antiphon.cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.removesuffix("\n").split("\n") if self.out else []


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("generate", folder, "--json", input="text")`: the command line in this process, on this input."""

    def call(*words: object, input: str | bytes = b"") -> Ended:
        names = ("stdout", "stderr")
        streams = {name: io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True, newline="") for name in names}
        given = input if isinstance(input, bytes) else input.encode()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8"))
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            code = main([str(word) for word in words])
        out, err = (streams[name].buffer.getvalue().decode() for name in names)  # type: ignore[attr-defined]
        return Ended(code, out, err)

    return call


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights: its answers mean nothing, but are always the same."""
    from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
    from antiphon.models.build import build_network
    from antiphon.models.folders.checkpoint import Parts, save_model_folder
    from antiphon.text import train_tokenizer

    tokenizer = train_tokenizer(["one two three four five six seven eight"] * 4, kind="bpe", vocab_size=300)
    config = ModelConfig(
        preset="tiny", d_model=16, num_heads=2, ffn_dim=32, encoder_layers=1, decoder_layers=1, max_length=64
    )
    size = tokenizer.vocab_size
    network = build_network(config, AttentionConfig(), source_vocab=size, target_vocab=size, shared=True, seed=3)
    generation = GenerationConfig(beam_size=2, max_new_tokens=8)
    parts = Parts(network, config, AttentionConfig(), tokenizer, tokenizer, "translation", generation)
    return save_model_folder(tmp_path_factory.mktemp("cli") / "model", parts)
