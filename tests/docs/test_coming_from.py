"""docs/coming-from-transformers.md: its tables are those of synonyms.py, and its code runs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from workflows.test_fine_tuning import T5, published

from antiphon.synonyms import METHODS, PUBLIC, SYNONYMS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "coming-from-transformers.md").read_text(encoding="utf-8")


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("name_tables", DOCS / "name_tables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_messages(tool: ModuleType) -> None:
    assert tool.renewed(PAGE) == PAGE, "run `python docs/name_tables.py`"
    assert tool.renewed(PAGE.replace("| `num_beams` |", "| `beams` |")) == PAGE  # a table that is changed is noticed
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted([*SYNONYMS, *PUBLIC, *METHODS])


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    published(tmp_path / "t5", "t5", T5)
    code = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(code) == 4
    names: dict[str, object] = {}
    for block in code:
        local = block.replace("google-t5/t5-small", "t5").replace("max_new_tokens=40", "max_new_tokens=4")
        exec(compile(local, "docs/coming-from-transformers.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) >= 4
    assert (tmp_path / "runs" / "tuned" / "model").is_dir() and (tmp_path / "runs" / "lora" / "adapter").is_dir()
