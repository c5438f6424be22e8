"""Short codes of languages, compared with Babel's table."""

from __future__ import annotations

import pytest
from babel.core import get_global

from antiphon.language_codes import short_code


def test_the_table_is_that_of_cldr() -> None:
    aliases = {code: str(alias).split("_")[0] for code, alias in get_global("language_aliases").items()}
    short = {code: alias for code, alias in aliases.items() if len(alias) == 2 or alias == "fil"}
    assert len(short) > 240
    assert {code: short_code(code) for code in short} == short
    others = set(aliases) - set(short)
    assert {code: short_code(code) for code in others} == {code: code for code in others}


@pytest.mark.parametrize(
    ("language", "code"),
    [("deu_Latn", "de"), ("pt-BR", "pt"), ("DE", "de"), ("zho_Hans", "zh"), ("nds", "nds"), ("", ""), ("x", "x")],
)
def test_scripts_and_regions_are_left_out(language: str, code: str) -> None:
    assert short_code(language) == code
