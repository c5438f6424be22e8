"""One small run, trained once; each test gets a copy of its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from antiphon.workflows import train

WORDS = ["one", "two", "three", "four", "<b>five</b>"]
PAIRS = [(f"{a} {b}", f"{b} {a}") for a in WORDS for b in WORDS] + [(word, word) for word in WORDS]
PAIRS += [(f"{a} {b} one", f"one {b} {a}") for a in WORDS for b in WORDS[:2]]
HOSTILE = "</script><script>alert(1)</script> | [x](javascript:alert(1)) `y` & <img src=x onerror=alert(1)>"


def recipe(output: Path, **sections: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "data": {"train": PAIRS * 4, "valid": PAIRS, "license": "cc-by-4.0"},
        "tokenizer": {"kind": "bpe", "vocab_size": 300},
        "model": {"preset": "tiny", "d_model": 32, "ffn_dim": 48, "num_heads": 2, "dropout": 0.0, "max_length": 64},
        "training": {"max_steps": 40, "batch_tokens": 300, "lr": 4e-3, "warmup_steps": 5, "log_every_steps": 10},
        "validation": {"every_steps": 20, "metrics": ["chrf", "exact_match"]},
        "license": "apache-2.0",
        "output": str(output),
    }
    for name, section in sections.items():
        base[name] = {**base.get(name, {}), **section} if isinstance(section, dict) else section
    return base


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe(tmp_path_factory.mktemp("reports") / "reversal"), quiet=True).folder


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, as from another machine."""
    return Path(shutil.copytree(trained, tmp_path / "reversal"))


def set_answers(folder: Path, rows: list[tuple[str, str, str]], *, step: int = 40) -> None:
    """Replace the answers of a run: (source, reference, answer)."""
    lines = [
        {"step": step, "source": source, "references": [reference], "answer": answer}
        for source, reference, answer in rows
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "valid_answers.jsonl").write_text(text, encoding="utf-8")
