"""The table of mutants is that of this tree: each text is in its file once, each named test is there.

That the tests kill them is `make mutants`, which runs each.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_a_mutant_can_be_made_and_its_test_is_there(mutant: Mutant) -> None:
    whole = (ROOT / "src" / "antiphon" / mutant.file).read_text(encoding="utf-8")
    assert whole.count(mutant.old) == 1, f"{mutant.file} must hold the text of `{mutant.what}` once"
    assert mutant.old != mutant.new
    file, name = mutant.test.split("::")
    assert f"def {name.split('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8"), mutant.test


def test_no_mutant_stands_twice() -> None:
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS) >= 60
