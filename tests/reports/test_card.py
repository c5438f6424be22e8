"""The model card: the hub reads its front matter, a person's changes stay, and the server shows the same facts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

import antiphon
from antiphon.reports.card import is_own_card
from antiphon.reports.card_facts import card_facts
from antiphon.reports.run_report import write_report


def test_the_hub_reads_the_front_matter(trained: Path) -> None:
    card = ModelCard.load(trained / "model" / "README.md")
    data: Any = card.data
    assert data.license == "apache-2.0" and data.pipeline_tag == "translation"
    assert data.library_name == "antiphon" and data.metrics == ["chrf", "exact_match"]
    scores = {result.metric_type: result.metric_value for result in data.eval_results}
    results = antiphon.report(trained).results
    assert scores == {name: pytest.approx(result.score, abs=0.01) for name, result in results.measured.items()}
    assert "# reversal" in card.text and "| chrf |" in card.text


def test_another_licence_is_named_as_the_hub_asks(run_folder: Path) -> None:
    text = (run_folder / "config.yaml").read_text(encoding="utf-8")
    (run_folder / "config.yaml").write_text(text.replace("license: apache-2.0", "license: Our own, 2026"))
    made = antiphon.report(run_folder)
    made.save_card(run_folder / "card.md")
    data: Any = ModelCard.load(run_folder / "card.md").data
    assert (data.license, data.license_name) == ("other", "Our own, 2026")


def test_a_card_holds_no_path_of_the_machine(trained: Path) -> None:
    assert str(trained.parent) not in (trained / "model" / "README.md").read_text(encoding="utf-8")


def test_an_edited_card_stays_as_it_is(run_folder: Path) -> None:
    card, said = run_folder / "model" / "README.md", list[str]()
    assert is_own_card(card.read_text(encoding="utf-8"))
    write_report(antiphon.report(run_folder), say=said.append)
    assert said == [] and is_own_card(card.read_text(encoding="utf-8"))
    edited = card.read_text(encoding="utf-8").replace("# reversal", "# Our model")
    card.write_text(edited, encoding="utf-8")
    write_report(antiphon.report(run_folder), say=said.append)
    assert card.read_text(encoding="utf-8") == edited
    assert len(said) == 1 and "has been edited" in said[0]


def test_the_servers_card_has_the_facts_of_the_run(trained: Path, tmp_path: Path) -> None:
    facts = card_facts(trained / "model")
    assert facts == card_facts(trained)
    results = antiphon.report(trained).results
    assert facts["metrics"]["chrf"] == pytest.approx(results.measured["chrf"].score, abs=1e-4)
    assert facts["license"] == "apache-2.0" and " to " in facts["metric_intervals"]["chrf"]
    assert facts["data"]["train"] == ["160 pairs from Python (cc-by-4.0)"] and facts["steps"] == 40
    alone = Path(shutil.copytree(trained / "model", tmp_path / "alone"))
    assert card_facts(alone)["metrics"]["chrf"] == pytest.approx(results.measured["chrf"].score, abs=0.01)
    assert card_facts(alone)["license"] == "apache-2.0"
    (alone / "README.md").write_text("---\nlicense: [\n---\n", encoding="utf-8")
    assert card_facts(alone) == {}
