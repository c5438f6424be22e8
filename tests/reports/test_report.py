"""The report of a run: what it says, of runs in every state, and that it never fails a run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from reports.conftest import HOSTILE, PAIRS, recipe, set_answers

import antiphon
from antiphon.cli.main import main
from antiphon.errors import ModelError
from antiphon.evaluation.measuring import measure_answers
from antiphon.registry import register, unregister
from antiphon.reports.answers import read_answers
from antiphon.reports.attention_maps import draw_maps
from antiphon.reports.facts import energy_of, trained_tokens
from antiphon.reports.run_file import read_run_file
from antiphon.training.lock import exclusive_lock
from antiphon.workflows import train


def test_a_run_ends_with_a_report_a_card_and_the_answers_of_its_best_validation(trained: Path) -> None:
    answers = read_answers(trained)
    model = antiphon.load(trained)
    assert [(each.source, each.references) for each in answers] == [(source, [target]) for source, target in PAIRS]
    again = model.generate([each.source for each in answers], beam_size=1)
    assert [each.answer for each in answers] == [each.text for each in again]
    results = read_run_file(trained)["results"]
    measured = measure_answers([each.answer for each in answers], PAIRS, ["chrf", "exact_match"])
    for name, result in measured.items():
        assert results[name]["score"] == pytest.approx(result.score, abs=1e-4)
        assert results[name]["signature"] == result.signature
        assert result.interval is not None
        assert (results[name]["low"], results[name]["high"]) == pytest.approx(tuple(result.interval), abs=1e-4)
    page = (trained / "report.html").read_text(encoding="utf-8")
    for section in ("results", "curves", "examples", "errors", "attention", "data", "recipe", "cost", "reproduce"):
        assert f'<section class="card" id="{section}"' in page, section
    assert f"{measured['chrf'].score:.2f}" in page and measured["chrf"].signature in page
    assert "cc-by-4.0" in page and "antiphon.train(...) in Python" in page and page.count("<figure>") >= 1


def test_the_facts_of_a_run(trained: Path) -> None:
    recorded = read_run_file(trained)
    assert recorded["data"]["train"]["pairs"] == 160 and recorded["data"]["valid"]["pairs"] == 40
    assert recorded["data"]["train"]["target_tokens"]["max"] >= recorded["data"]["train"]["target_tokens"]["median"] > 1
    assert recorded["word_counts"]["one"] == 4 * 28  # in the targets of 40 pairs, four times
    [start] = recorded["starts"]
    assert start["first_step"] == 0 and start["last_step"] == 40 and start["ended"] == "40 steps are done"
    assert start["threads"] == 1 and set(start["versions"]) == {"antiphon", "torch", "python", "system"}
    made = antiphon.report(trained)
    counted = trained_tokens(made.run)
    assert counted == made.run.rows.last("tokens") > 0
    for row in made.run.rows:  # a log of an older version
        row.pop("tokens", None)
    assert trained_tokens(made.run) == pytest.approx(counted, rel=0.02)
    assert made.run.state == "finished" and ("unknown" in energy_of(made.run)) != ("kWh" in energy_of(made.run))


def test_users_texts_are_escaped_everywhere(run_folder: Path) -> None:
    rows = [(f"{HOSTILE} {number}", HOSTILE, f"{number} {HOSTILE}") for number in range(30)]
    set_answers(run_folder, rows)
    folder = run_folder.rename(run_folder.parent / "<script>alert(2)")
    made = antiphon.report(folder)
    for text in (made.html, made._repr_html_()):
        assert "<script" not in text and "<img" not in text and "&lt;script&gt;" in text
    front, body = made.card.split("---\n", 2)[1:]
    assert "\n" not in front.split("name: ")[1].split("\n")[0]
    prose = body.split("## Use")[0]  # below is code, in a fence
    assert not re.search(r"(?<!\\)[<\[\]`](?!!--)", re.sub(r"`[^`\n]+`|```.*?```|\[Antiphon\]", "", prose, flags=re.S))
    assert body.count("```") == 4


def test_a_page_makes_no_request_and_has_no_script(trained: Path) -> None:
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page and "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!#)', page) and "url(" not in page and "@import" not in page


def test_worst_typical_and_best_examples(run_folder: Path) -> None:
    good, bad = [(f"s{n}", f"word {n}", f"word {n}") for n in range(20)], [("bad", "word x y z", "nothing")]
    half = [(f"h{n}", f"some word {n}", f"some thing {n}") for n in range(40)]
    set_answers(run_folder, [*good, *half, *bad])
    results = antiphon.report(run_folder).results
    kinds = {kind: [each.answer.source for each in results.examples if each.kind == kind] for kind in
             ("worst", "typical", "best")}  # fmt: skip
    assert kinds["worst"][0] == "bad" and len(kinds["worst"]) == 5
    assert all(source.startswith("h") for source in kinds["typical"])
    assert all(source.startswith("s") for source in kinds["best"])
    assert sum(group.count for group in results.by_length) == 61 and len(results.by_length) > 1
    assert {"word", "thing"} & set(antiphon.report(run_folder).html.split())


def test_where_lower_is_better_the_worst_have_the_highest_score(run_folder: Path) -> None:
    text = (run_folder / "config.yaml").read_text(encoding="utf-8")
    (run_folder / "config.yaml").write_text(text.replace("  - chrf\n  - exact_match\n", "  - wer\n"), encoding="utf-8")
    set_answers(run_folder, [("right", "a b c d", "a b c d"), ("wrong", "a b c d", "x y z w"), ("part", "a b", "a x")])
    examples = antiphon.report(run_folder).results.examples
    assert [(each.kind, each.answer.source, each.score) for each in examples] == [
        ("worst", "wrong", 100.0),
        ("typical", "part", 50.0),
        ("best", "right", 0.0),
    ]


def test_half_written_last_lines_are_left_out(run_folder: Path) -> None:
    whole = antiphon.report(run_folder)
    for name in ("metrics.jsonl", "valid_answers.jsonl"):
        with (run_folder / name).open("a", encoding="utf-8") as stream:
            stream.write('{"step": 50, "loss": 1.2')
    found = antiphon.report(run_folder)
    assert list(found.run.rows) == list(whole.run.rows) and found.run.answers == whole.run.answers


def test_a_run_without_snapshots_answers_or_model(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "snapshots")
    shutil.rmtree(run_folder / "model")
    (run_folder / "valid_answers.jsonl").unlink()
    (run_folder / "run.json").unlink()
    made = antiphon.report(run_folder)
    assert made.run.state == "stopped" and made.results.measured == {} and made.maps == []
    assert set(made.results.logged) == {"valid_loss", "chrf", "exact_match"}
    assert "recorded no versions" in made.html and "# reversal" in made.card


def test_an_empty_run(run_folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(run_folder / "config.yaml", empty)
    made = antiphon.report(empty)
    assert made.run.state == "empty" and "There are no figures yet." in made.html
    (empty / "metrics.jsonl").write_text("", encoding="utf-8")
    (empty / "run.json").write_text('{"format": 1, "starts": [', encoding="utf-8")
    assert antiphon.report(empty).run.state == "empty"


def test_a_running_run(run_folder: Path) -> None:
    with exclusive_lock(run_folder):
        made = antiphon.report(run_folder)
    assert made.run.state == "running" and 'class="state running"' in made.html and "still being trained" in made.card


@pytest.mark.parametrize("what", ["missing", "other", "file"])
def test_what_is_no_run_is_named_in_one_line(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / what
    if what == "other":
        place.mkdir()
    if what == "file":
        place.write_text("x", encoding="utf-8")
    with pytest.raises(ModelError, match="a report needs the folder of a run"):
        antiphon.report(place)
    assert main(["report", str(place)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and str(place) in captured.err


def test_the_command(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run_folder), "--output", str(tmp_path / "page.html")]) == 0
    assert f"the report is in {tmp_path / 'page.html'}" in capsys.readouterr().err
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["report", str(run_folder), "--output", str(tmp_path / "no" / "page.html")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_no_code_that_a_folder_names_is_imported(run_folder: Path) -> None:
    text = (run_folder / "config.yaml").read_text(encoding="utf-8")
    changed = text.replace("  - chrf\n", "  - this_module_is_not_there:metric\n")
    (run_folder / "config.yaml").write_text(changed, encoding="utf-8")
    made = antiphon.report(run_folder)
    assert list(made.results.measured) == ["exact_match"] and "chrf" in made.results.logged
    assert any("not registered here" in note for note in made.results.notes)


def test_an_ensemble_or_no_weights_leave_a_reason_in_place_of_maps(trained: Path) -> None:
    examples = antiphon.report(trained).results.examples
    maps, reason = draw_maps(antiphon.load([trained, trained]), examples)  # type: ignore[arg-type]
    assert maps == [] and "ensemble" in reason
    assert draw_maps(None, examples) == ([], "there is no model in the run folder")


def test_a_report_that_cannot_be_written_fails_no_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    broken = {"on": False}

    @register("metric", "test-breaks-later")
    def metric(hypotheses: Any, references: Any) -> float:
        if broken["on"]:
            raise RuntimeError("the metric is broken")
        return 1.0

    register("reporter", "test-breaks-metric")(
        lambda folder: lambda row: broken.update(on=broken["on"] or "chrf" in row)
    )
    try:
        short = {"max_steps": 2}
        metrics = {"metrics": ["chrf", "test-breaks-later"]}
        run = train(recipe(tmp_path / "run", training=short, validation=metrics))
    finally:
        unregister("metric", "test-breaks-later")
        unregister("reporter", "test-breaks-metric")
    said = capfd.readouterr().err
    assert run.reason == "2 steps are done" and run.model.generate("one two")
    assert said.count("the report was not written (RuntimeError: the metric is broken)") == 1
    assert f"antiphon report {tmp_path / 'run'}" in said


def test_a_classification_and_a_run_without_validation(tmp_path: Path) -> None:
    data = [("good day", "yes"), ("bad day", "no")] * 12
    run = train(
        recipe(
            tmp_path / "labels",
            task="classification",
            data={"train": data, "valid": data},
            training={"max_steps": 2},
            validation={"metrics": ["accuracy", "confusion"]},
        ),
        quiet=True,
    )
    made = antiphon.report(run)
    assert set(made.results.measured) == {"accuracy", "confusion"} and made.results.by_rarity == []
    assert "text-classification" in made.card and made.maps
    blind = train(
        recipe(tmp_path / "blind", data={"train": PAIRS, "valid": None}, training={"max_steps": 1}, validation={
            "metrics": []}),
        quiet=True,
    )  # fmt: skip
    assert "The run had no validation." in (blind.folder / "report.html").read_text(encoding="utf-8")


def test_a_resumed_run_has_both_starts_and_the_same_answers(trained: Path, tmp_path: Path) -> None:
    train(recipe(tmp_path / "parts", training={"max_steps": 20}), quiet=True)
    run = train(recipe(tmp_path / "parts"), resume=True, quiet=True)
    starts = read_run_file(run.folder)["starts"]
    assert [start["first_step"] for start in starts] == [0, 20]
    same = (run.folder / "valid_answers.jsonl").read_bytes() == (trained / "valid_answers.jsonl").read_bytes()
    assert same and "Continued after step 20" in (run.folder / "report.html").read_text(encoding="utf-8")


def test_a_damaged_model_leaves_a_reason(run_folder: Path) -> None:
    (run_folder / "model" / "config.json").write_text("{", encoding="utf-8")
    made = antiphon.report(run_folder)
    assert made.maps == [] and "must be JSON" in made.no_maps and made.results.measured


def test_run_json_may_be_lost(run_folder: Path) -> None:
    (run_folder / "run.json").write_text(json.dumps({"starts": "x", "data": 3, "word_counts": []}), encoding="utf-8")
    assert antiphon.report(run_folder).results.by_rarity == []
