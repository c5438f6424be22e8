"""The README's picture: the same log gives the same picture, which stands alone."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[2] / "docs" / "terminal_picture.py"


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("terminal_picture", TOOL)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(picture: str) -> str:
    return "\n".join(
        "".join(element.itertext()) for element in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    )


def test_it_shows_the_log_and_fetches_nothing(tool: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "$ make demo\nloading 1 %\rloading 100 %\n"
        "\x1b[32mstep 60\x1b[0m  validation: chrf 97.1\nin 3 hours  →  in 3 Stunden\n"
    )
    picture = tool.draw(tool.read(log, head=None, tail=None), title="make demo", width=80)
    shown = text_of(picture).replace("\xa0", " ")
    for words in ("$ make demo", "loading 100 %", "step 60", "chrf 97.1", "in 3 Stunden"):
        assert words in shown
    assert "loading 1 %" not in shown
    assert "@font-face" not in picture and "url(http" not in picture and "href" not in picture
    assert picture == tool.draw(tool.read(log, head=None, tail=None), title="make demo", width=80)


def test_the_middle_of_a_long_log_is_left_out(tool: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    lines = [line.plain for line in tool.read(log, head=2, tail=1)]
    assert lines == ["line 0", "line 1", "… 97 lines …", "line 99"]
