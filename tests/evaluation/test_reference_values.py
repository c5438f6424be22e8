"""Every value of metrics-reference that its README does not exclude, besides those of test_translation and test_rouge.

Whole systems are a few in `make test`; all of them with ANTIPHON_TORTURE=1 (tests/counts.toml).
"""

from __future__ import annotations

import gzip
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from counts import count

from antiphon.evaluation.sums import bleu_scores
from antiphon.evaluation.translation import bleu, chrf, shared_references, ter

ROUNDED = 0.005001  # of a value with two decimals
WMT = {  # the column of scores.json -> the metric; those of sacreBLEU have four decimals
    "13a": bleu,
    "none": partial(bleu, tokenize="none"),
    "intl": partial(bleu, tokenize="intl"),
    "char": partial(bleu, tokenize="char"),
    "13a_lc": partial(bleu, lowercase=True),
    "chrf": chrf,
    "chrf_eps": partial(chrf, eps_smoothing=True),
    "chrfpp_eps": partial(chrf, word_order=2, eps_smoothing=True),
}
PROGRAMS = {  # the column -> the column of sacreBLEU whose score it must be, and how far
    "mteval_v13a_bleu": ("13a", ROUNDED),
    "mteval_v14_intl_bleu": ("intl", ROUNDED),
    "chrF++.py_chrf_nw0": ("chrf_eps", 1.5e-4),
    "chrF++.py_chrfpp": ("chrfpp_eps", 1.5e-4),
}


@pytest.fixture
def folder(data_folder: Path) -> Path:
    return data_folder / "metrics-reference"


@pytest.fixture
def cases(folder: Path) -> dict:
    return json.loads((folder / "sacrebleu_cases.json").read_text(encoding="utf-8"))


def lines(file: Path) -> list[str]:
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as stream:
        return stream.read().removesuffix("\n").split("\n")


def spread(rows: list, number: int) -> list:
    """`number` of the rows, from all parts of the list."""
    return [rows[place * len(rows) // number] for place in range(number)] if number < len(rows) else rows


def by_row(streams: list[list[str]], answers: list[str]) -> list[list[str]]:
    """References by answer; a stream may be longer than the answers, which sacreBLEU cuts."""
    return [list(row) for row, _ in zip(zip(*streams, strict=True), answers, strict=False)]


def raw(answers: list[str], streams: list[list[str]], value: float) -> float:
    settings = {"tokenize": "none", "smooth_method": "floor", "smooth_value": value, "effective_order": True}
    return bleu(answers, by_row(streams, answers), **settings).score / 100


def test_raw_bleu_with_floor_smoothing(cases: dict) -> None:
    for name in ("raw_corpus_bleu_floor_0.01", "raw_corpus_bleu_single_word"):
        for case in cases[name]["cases"]:
            found = raw(case["hypotheses"][: len(case["references"][0])], case["references"], 0.01)
            assert found == pytest.approx(case["expected"], abs=cases[name]["tolerance"])
    for case in cases["raw_corpus_bleu_offset"]["cases"]:
        for value in (0.1, 0.0):
            found = raw(case["hypotheses"], case["references"], value)
            assert found == pytest.approx(case[f"expected_floor_{value}"], abs=1e-8)


def test_statistics_of_ngrams(cases: dict) -> None:
    for case in cases["ngram_statistics"]["cases"]:
        [row] = bleu(case["hypotheses"], by_row(case["references"], case["hypotheses"]), tokenize="none").statistics
        assert row[2:6] == case["correct"] and row[6:10] == case["total"]


def test_bleu_of_statistics(cases: dict) -> None:
    for name in ("compute_bleu_from_stats", "compute_bleu_degenerate_floor"):
        for case in cases[name]["cases"]:
            row = [case["sys_len"], case["ref_len"], *case["correct"], *case["total"]]
            smooth = {"smooth_method": "floor", "smooth_value": case["floor"]} if "floor" in case else {}
            found = bleu_scores(np.array([row], dtype=float), **smooth)[0] / 100
            assert found == pytest.approx(case["expected"], abs=1e-9)


def test_every_group_of_cases_has_a_test(cases: dict) -> None:
    """A group that is added to the file is noticed."""
    texts = Path(__file__).read_text() + Path(__file__).with_name("test_translation.py").read_text()
    assert [name for name in cases if name != "source" and f'"{name}"' not in texts] == []


@pytest.mark.timeout(3000)
def test_systems_of_wmt(folder: Path) -> None:
    """BLEU and chrF against mteval-v13a.pl, mteval-v14.pl, chrF++.py and sacreBLEU 2.6.0."""
    rows = [[line] for line in lines(folder / "wmt17-en-de" / "reference.de.gz")]
    scores = json.loads((folder / "wmt17-en-de" / "scores.json").read_text(encoding="utf-8"))
    chosen, columns = spread(scores, count("reference_systems")), list(WMT)
    for number, system in enumerate(chosen):
        answers = lines(folder / "wmt17-en-de" / f"{system['system']}.de.gz")
        # A few columns of each system in `make test`, other ones of the next; LIUM-NMT has all programs.
        own = columns if len(chosen) == len(scores) else columns[number * 2 :: len(chosen) * 2]
        for column in own:
            with shared_references():
                score = WMT[column](answers, rows).score
            assert score == pytest.approx(system["sacrebleu_2.6.0"][column], abs=5.1e-5), (system["system"], column)
            for program, (same, within) in PROGRAMS.items():
                if same == column and system[program] is not None:
                    assert score == pytest.approx(system[program], abs=within), (system["system"], program)


@pytest.mark.timeout(3000)
def test_systems_of_wmt_by_tercom(folder: Path) -> None:
    """TER against tercom 7.25, which prints three decimals of the fraction."""
    rows = [[line] for line in lines(folder / "wmt17-en-de" / "reference.de.gz")]
    scores = json.loads((folder / "wmt17-en-de" / "scores.json").read_text(encoding="utf-8"))
    for system in spread(scores, count("reference_systems_ter")):
        answers = lines(folder / "wmt17-en-de" / f"{system['system']}.de.gz")
        assert ter(answers, rows).score == pytest.approx(100 * system["tercom_7.25_ter"], abs=0.0501), system["system"]


@pytest.mark.timeout(600)
def test_systems_by_multi_bleu(folder: Path) -> None:
    """Tokenized outputs against multi-bleu.perl; the Japanese pair was split at other white space (README)."""
    scores = json.loads((folder / "witwicky-ted" / "scores.json").read_text(encoding="utf-8"))
    names = [name for name in scores if name != "test.en.best_trans"]
    assert len(names) == 8
    for name in spread(names, count("reference_systems")):
        rows = [[line] for line in lines(folder / "witwicky-ted" / f"{scores[name]['reference']}.gz")]
        found = bleu(lines(folder / "witwicky-ted" / f"{name}.gz"), rows, tokenize="none").score
        assert found == pytest.approx(scores[name]["published_multi-bleu.perl"], abs=ROUNDED), name
        assert found == pytest.approx(scores[name]["sacrebleu_2.6.0_none"], abs=5.1e-5), name
