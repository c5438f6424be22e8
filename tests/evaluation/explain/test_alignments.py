"""Alignment error rate (Och and Ney 2003), and the links of words between spaces."""

from __future__ import annotations

from pathlib import Path

import pytest
from generation.test_maps import Silent, model_of

from antiphon.errors import DataError, ModelError
from antiphon.evaluation.explain.alignments import alignment_errors, parse_gold, pharaoh, read_gold, word_links


def test_the_rate_by_hand() -> None:
    """A = {0-0, 1-1, 2-3}, S = {0-0, 2-2}, P = S and {1-1}: |A∩S| = 1, |A∩P| = 2, so 1 - 3 / (3 + 2)."""
    gold = parse_gold("0-0 2-2 1?1")
    assert gold.sure == {(0, 0), (2, 2)} and gold.possible == {(0, 0), (2, 2), (1, 1)}
    found = alignment_errors([{(0, 0), (1, 1), (2, 3)}], [gold])
    assert found.aer == pytest.approx(1 - 3 / 5)
    assert found.precision == pytest.approx(2 / 3) and found.recall == pytest.approx(1 / 2)
    both = alignment_errors([{(0, 0), (1, 1), (2, 3)}, {(0, 0)}], [gold, parse_gold("0-0")])
    assert both.aer == pytest.approx(1 - (2 + 3) / (4 + 3)), "sums over pairs, no mean of rates"
    assert "alignment error rate 28.6 %" in str(both)


def test_nothing_to_align() -> None:
    empty = alignment_errors([set()], [parse_gold("")])
    assert (empty.aer, empty.precision, empty.recall) == (0.0, 1.0, 1.0)
    assert alignment_errors([set()], [parse_gold("0-0")]).aer == 1.0
    assert alignment_errors([{(0, 0)}], [parse_gold("0p0")]).aer == 0.0


def test_files_and_what_is_no_alignment(tmp_path: Path) -> None:
    file = tmp_path / "gold.txt"
    file.write_text("0-0 1p2\n\n3?4\n")
    read = read_gold(file)
    assert [len(each.possible) for each in read] == [2, 0, 1] and read[0].sure == {(0, 0)}
    file.write_text("0-0\n0-0 1_2\n")
    with pytest.raises(DataError, match=r"but has `1_2` \(.*gold.txt:2\)"):
        read_gold(file)
    with pytest.raises(DataError, match="but there are 1 and 0"):
        alignment_errors([set()], [])


def test_links_are_of_words_between_spaces() -> None:
    held = model_of()
    source, target = "one, two  three", "four five six."
    (links,) = word_links(held, [source], [target])
    assert {j for _, j in links} == {0, 1, 2}, "each word of the answer has a link, punctuation belongs to its word"
    assert all(0 <= i < 3 for i, _ in links)
    shown = pharaoh(links)
    assert parse_gold(shown).sure == links and shown.split()[0].endswith("-0")
    assert word_links(held, ["", "one"], ["two", ""]) == [set(), set()]


def test_what_has_no_weights_is_refused() -> None:
    with pytest.raises(ModelError, match="alignments need weights of cross-attention"):
        word_links(model_of({"cross": Silent()}), ["one"], ["two"])
