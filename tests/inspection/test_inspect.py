"""`antiphon inspect`: what it finds in real kinds of data, what it says of broken ones, and that its filters work."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

import antiphon
from antiphon.cli.main import main
from antiphon.errors import ConfigError, DataError, UsageError
from antiphon.inspection.findings import flow
from antiphon.inspection.report import Inspection
from antiphon.recipe import from_mapping, read_yaml


def words(stems: str, ends: str) -> list[str]:
    return [stem + end for stem in stems.split() for end in ["", *ends.split()]]


ENGLISH = words("walk dream light think house friend watch found bright stand count thought garden", "ing ed s ly")
GERMAN = words("geh träum licht denk haus freund seh fand schein steh flüster zähl gedank gärtn", "en te ung er lich")
FRENCH = words("march rêv lumi pens maison ami regard trouv brill debout murmur compt jardin", "ait eux ière ons ement")


HELD_OUT = words("river mountain cloud bridge flower ship market stone winter paper letter music", "ing ed s ly")


def sentence(words: list[str], chance: random.Random, count: int = 0) -> str:
    return " ".join(chance.choice(words) for _ in range(count or chance.randint(6, 14)))


def clean(size: int, seed: int = 0, source: list[str] = ENGLISH) -> list[tuple[str, str]]:
    chance = random.Random(seed)
    counts = [chance.randint(6, 14) for _ in range(size)]
    return [(sentence(source, chance, count), sentence(GERMAN, chance, count)) for count in counts]


def faulty() -> tuple[list[tuple[str, str]], dict[str, set[int]]]:
    """Pairs with faults, and the indices of each kind."""
    chance, pairs = random.Random(1), clean(1500)
    held = clean(30, 9, HELD_OUT)
    at: dict[str, set[int]] = {}

    def plant(kind: str, first: int, make: Callable[[str, str], tuple[str, str]]) -> None:
        at[kind] = set(range(first, first + 5))
        for index in at[kind]:
            pairs[index] = make(*pairs[index])

    plant("swapped", 100, lambda s, t: (t, s))
    plant("wrong_language", 200, lambda s, t: (s, sentence(FRENCH, chance)))
    plant("untranslated", 300, lambda s, t: (s, s))
    plant("garbled", 400, lambda s, t: (s, f"{t} für".encode().decode("latin-1")))
    plant("lost", 500, lambda s, t: (s, f"{t} f\ufffdr"))
    plant("odd_characters", 600, lambda s, t: (f"{s}\u200b", t))
    plant("normal_form", 700, lambda s, t: (s, f"{t} fu\u0308r"))
    plant("numbers", 800, lambda s, t: (f"{s} 1999", f"{t} 1989"))
    plant("urls", 900, lambda s, t: (f"{s} www.a.org", f"{t} www.b.org"))
    plant("empty", 1000, lambda s, t: (s, " "))
    plant("duplicates", 1100, lambda s, t: pairs[50])
    plant("overlap_exact", 1200, lambda s, t: (held[chance.randrange(30)][0].upper(), t))
    plant("overlap_near", 1300, lambda s, t: (held[chance.randrange(30)][0] + " too", t))
    plant("ratio", 1400, lambda s, t: (s, " ".join([t] * 9)))
    return pairs, at


def write(folder: Path, name: str, pairs: list[tuple[str, str]]) -> dict[str, str]:
    files = {side: folder / f"{name}.{side}" for side in ("source", "target")}
    for number, file in enumerate(files.values()):
        file.write_text("".join(f"{pair[number]}\n" for pair in pairs), encoding="utf-8")
    return {side: str(file) for side, file in files.items()}


def recipe(train: Any, valid: Any = None, **sections: Any) -> dict[str, Any]:
    return {
        "task": "translation",
        "data": {"train": train, "valid": valid, "max_length": 64},
        "tokenizer": {"kind": "bytes", "shared": True},
        "model": {"preset": "tiny", "d_model": 16, "num_heads": 2, "ffn_dim": 16, "max_length": 256},
        "training": {"batch_tokens": 2048, "max_steps": 100, "lr": 1e-3},
        "validation": {"every_steps": 50, "metrics": ["bleu"]},
        **sections,
    }


def rows(report: Inspection) -> dict[str, set[int]]:
    """The indices of the rows that are shown, by kind."""
    return {
        finding.kind.name: {int(row.place.rpartition(":")[2]) - 1 for row in finding.examples}
        for finding in report.findings
        if finding.split == "train" and finding.kind.name not in ("too_long", "refused")
    }


@pytest.fixture(scope="module")
def inspected(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Inspection, dict[str, set[int]]]:
    """A recipe with faults, and its inspection with the trial of the run."""
    folder = tmp_path_factory.mktemp("inspected")
    pairs, at = faulty()
    made = recipe(write(folder, "train", pairs), write(folder, "valid", clean(30, 9, HELD_OUT)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("antiphon.workflows.trying.trial.TIMED_SECONDS", 0.5)
        return made, antiphon.inspect(made, world="8xH100", price_per_hour=2.5, title="a <b>recipe</b>"), at


def test_each_kind_is_found_where_it_is(inspected: tuple[Any, Inspection, dict[str, set[int]]]) -> None:
    _, report, at = inspected
    found = rows(report)
    for kind, wanted in at.items():
        assert len(found.get(kind, set()) & wanted) >= 4, (kind, found.get(kind))
    false = set().union(*found.values()) - set().union(*at.values())
    assert len(false) <= 5, false
    urgencies = [finding.urgency for finding in report.findings]
    assert urgencies == sorted(urgencies, key=["first", "next", "later", "know"].index)
    assert report.findings[0].kind.name == "overlap_exact"


def test_the_snippet_removes_what_was_found(inspected: tuple[Any, Inspection, dict[str, set[int]]]) -> None:
    made, report, _ = inspected
    added = read_yaml(report.snippet, "snippet")[0]["data"]
    again = antiphon.inspect({**made, "data": {**made["data"], **added}}, data_only=True)
    assert {finding.kind.name for finding in again.findings if finding.split == "train"} <= {"empty"}
    dropped = again.splits[0].dropped
    assert sum(dropped.values()) == again.splits[0].read - again.splits[0].kept - again.splits[0].empty
    assert 60 <= sum(dropped.values()) <= 90 and len(dropped) == len(added["filters"])
    assert again.snippet == ""


def test_tokens_and_costs(inspected: tuple[Any, Inspection, dict[str, set[int]]]) -> None:
    _, report, _ = inspected
    assert report.tokens is not None and report.estimate is not None and report.world is not None
    source, run = report.tokens.sides[0], report.estimate.measured
    assert source.vocabulary == 260 and 0.7 < source.characters_per_token < 1.1 and source.unknown == 0
    long = next(finding for finding in report.findings if finding.kind.name == "too_long")
    assert long.count > 100 and "data.overflow: skip" in long.remedy and "tokens" in long.examples[0].note
    assert report.estimate.steps == 100 and report.estimate.validations == 2 and report.estimate.saves >= 1
    parts = report.estimate.training_seconds + report.estimate.validation_seconds + report.estimate.start_seconds
    assert parts < report.estimate.seconds < 2 * parts and run.step_seconds > 0
    assert 0 < run.padding_waste < 0.5 and run.peak_bytes > 50e6 and run.timed_steps >= 6
    assert report.world.busy == 1 and "7 of the 8 devices" in report.text(1000)
    assert report.world.chosen is not None and report.world.chosen.fits
    assert report.world.seconds < report.estimate.training_seconds and "at 2.5 an hour" in report.text(1000)
    assert 0 <= run.conditions.waited_share < 1 and not run.conditions.notes


def test_the_padding_is_that_of_the_runs_batches(inspected: tuple[Any, Inspection, dict[str, set[int]]]) -> None:
    from antiphon.data import Batches, load_corpus, padding_waste
    from antiphon.text import load_task, train_tokenizer

    made, report, _ = inspected
    assert report.estimate is not None
    tokenizer = train_tokenizer(["a"], kind="bytes", vocab_size=260)
    sides = {"source_tokenizer": tokenizer, "target_tokenizer": tokenizer}
    data = from_mapping(made).data.train
    corpus = load_corpus(data, task=load_task("translation"), max_length=64, overflow="skip", **sides)
    batches = Batches(corpus, batch_tokens=2048, seed=0)
    epoch = [next(batches) for _ in range(report.estimate.measured.batches)]
    assert batches.epoch == 1 and report.estimate.measured.padding_waste == padding_waste(epoch)


def test_text_fits_and_json_and_notebook_have_the_same(inspected: tuple[Any, Inspection, dict[str, set[int]]]) -> None:
    _, report, _ = inspected
    for width in (60, 80, 120):
        snippet = {f"    {line}" for line in report.snippet.splitlines()}
        for line in report.text(width).splitlines():
            assert cell_len(line) <= width or line in snippet, line
    plain = json.loads(report.to_json())
    assert [each["kind"] for each in plain["findings"]] == [finding.kind.name for finding in report.findings]
    assert plain["world"]["computed"] is True and plain["world"]["cost"] > 0 and plain["estimate"]["seconds"] > 0
    html = report._repr_html_()
    assert "&lt;b&gt;recipe" in html and "<b>recipe" not in html and "Pairs with source and target exchanged" in html
    assert repr(report).startswith("Inspection('a <b>recipe</b>': 1,500 pairs")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "train", clean(200))
    path = tmp_path / "recipe.yaml"
    made = recipe({"source": "train.source", "target": "train.target"})
    made["validation"] = {}
    path.write_text("\n".join(f"{key}: {flow(value)}" for key, value in made.items()), encoding="utf-8")
    assert main(["inspect", str(path), "--data-only", "--html", str(tmp_path / "x.html"), "--quiet"]) == 0
    said = capsys.readouterr()
    assert "There are no validation and test data" in said.out and "200 pairs, 200 kept" in said.out
    assert "<!DOCTYPE html>" in (tmp_path / "x.html").read_text(encoding="utf-8") and said.err == ""
    assert main(["inspect", str(path), "--data-only", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"][0]["read"] == 200
    assert main(["inspect", str(path), "--world", "8xH1000"]) == 2
    assert "did you mean `H100`" in capsys.readouterr().err
    (tmp_path / "train.target").unlink()
    assert main(["inspect", str(path)]) == 2
    assert "train.target` cannot be read (No such file or directory)" in capsys.readouterr().err


def test_unreadable_rows_are_named_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    files = write(tmp_path, "train", clean(50))
    lines = Path(files["source"]).read_bytes().split(b"\n")
    lines[20] = b"caf\xe9"
    Path(files["source"]).write_bytes(b"\n".join(lines))
    made = recipe(files)
    made["validation"] = {}
    report = antiphon.inspect(made)
    first = report.findings[0]
    assert (first.kind.name, first.count) == ("unreadable", 1) and first.examples[0].place.endswith("train.source:21")
    assert "0xe9" in first.examples[0].note and "bad_rows: skip" in report.snippet
    assert report.splits[0].kept == 49 and report.estimate is not None


@pytest.mark.parametrize(
    ("train", "problem"),
    [
        ([("", ""), ("a", " ")], "at least one pair"),
        ([("cat.wav", "meow"), ("dog.wav", "woof")], "names of sound or image files"),
        ([("x " * 2000, "y")], "at least"),
    ],
)
def test_data_that_training_refuses_is_a_finding(train: Any, problem: str) -> None:
    made = recipe(train)
    made["validation"] = {}
    report = antiphon.inspect(made)
    refused = [finding for finding in report.findings if finding.kind.name == "refused"]
    assert len(refused) == 1 and problem in refused[0].examples[0].note
    assert report.estimate is None and report.problem and problem in report.text(300)
    assert report.splits[0].read == len(train)


def test_files_of_different_length_and_wrong_recipes_are_one_line(tmp_path: Path) -> None:
    files = write(tmp_path, "train", clean(5))
    with Path(files["target"]).open("a") as stream:
        stream.write("one more\n")
    with pytest.raises(DataError, match="same number of lines"):
        antiphon.inspect(recipe(files, [("a", "b")]))
    with pytest.raises(ConfigError, match="must be a TrainConfig"):
        antiphon.inspect(7)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="whose data sheet is known"):
        antiphon.inspect(recipe(files), world="eight")


def test_labels_that_differ_for_equal_texts() -> None:
    chance = random.Random(0)
    rows = [(sentence(ENGLISH, chance), chance.choice(["good", "bad"])) for _ in range(300)]
    rows += [(rows[0][0], "good" if rows[0][1] == "bad" else "bad"), rows[1]]
    made = recipe(rows, task="classification")
    made["validation"] = {}
    report = antiphon.inspect(made, data_only=True)
    found = {finding.kind.name: finding for finding in report.findings}
    assert set(found) == {"conflicts", "duplicates"}
    assert found["conflicts"].examples[0].place == "pairs[300]" and found["conflicts"].examples[0].note == "as pairs[0]"


def test_plain_text_for_denoising(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("".join(f"{source}\n" for source, _ in clean(100)), encoding="utf-8")
    made = recipe({"text": str(tmp_path / "x.txt"), "objective": "span_corruption"}, task="text")
    made["validation"] = {}
    report = antiphon.inspect(made, data_only=True)
    assert report.splits[0].kept == 100 and not report.findings


def test_what_most_pairs_have_is_how_the_data_is(tmp_path: Path) -> None:
    pairs = [(source, source) for source, _ in clean(100)]
    report = antiphon.inspect(recipe(write(tmp_path, "train", pairs), [("a", "b")]), data_only=True)
    copies = next(finding for finding in report.findings if finding.kind.name == "untranslated")
    assert copies.urgency == "know" and copies.usual and "copies" not in report.snippet


def test_a_large_corpus_is_tried_on_a_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("antiphon.workflows.trying.recipe.WHOLE_PAIRS", 100)
    monkeypatch.setattr("antiphon.data.checks.languages.SAMPLE_PAIRS", 60)
    monkeypatch.setattr("antiphon.workflows.trying.trial.TIMED_SECONDS", 0.0)
    files = write(tmp_path, "train", clean(400))
    config = from_mapping(recipe([{**files, "tag": "deu", "prefix": "to: "}], write(tmp_path, "valid", clean(20))))
    config = replace(config, training=replace(config.training, max_steps=None, max_epochs=2))
    report = antiphon.inspect(config)
    assert report.estimate is not None and report.tokens is not None, report.problem
    assert report.tokens.pairs == 100 and report.estimate.measured.pairs < 100  # some are too long
    assert report.estimate.epochs == pytest.approx(2, abs=0.3) and "measured on 100 pairs" in report.text(200)
