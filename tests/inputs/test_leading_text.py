"""What stands before a text to say what is asked for stands before each of its parts, and what stood between parts
stands between their answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import antiphon
from antiphon.config import DataConfig, SourceConfig
from antiphon.errors import DataError, ModelError
from antiphon.generation.joining import join_texts
from antiphon.generation.model import Model
from antiphon.inputs.leading_text import in_template, leading_text, prefixes_of, template_of
from antiphon.inputs.long_texts import pieces_of, split
from antiphon.text import train_tokenizer

BYTES = train_tokenizer(["a"], kind="bytes", vocab_size=260)
DAYS = " ".join(f"March {day}, 2031." for day in range(1, 9))


@pytest.mark.parametrize(
    "front",
    [
        "<fra> ",
        "<finnish> <V;IND;PST;1;SG> ",
        "<fra>\n",
        ">>fra<<\n",
        "Translate English to German: ",
        "Summarize:\n",
        "translate English to German: ",
        "summarize: ",
        ">>fra<< ",
        ">>cmn_Hans<<",
        "abridge: ",
        "<fra> abridge: ",
    ],
)
def test_each_part_has_the_front_and_fits(front: str) -> None:
    # F2: only the first part had it.
    limit = len(BYTES.encode(front)) + 40
    parts = split(front + DAYS, tokenizer=BYTES, limit=limit, prefixes=["abridge: ", "abridge", ""])
    assert len(parts) == 4 and all(part.startswith(front) for part in parts)
    assert all(len(BYTES.encode(part)) <= limit for part in parts)
    assert " ".join(part.removeprefix(front) for part in parts) == DAYS


@pytest.mark.parametrize("text", ["a < b and c > d", "<a>b", "Note: it rains", "1 << 2", "x >>y<<", "translate it", ""])
def test_other_beginnings_are_text(text: str) -> None:
    assert leading_text(text) == ""


def test_a_front_that_leaves_no_room_is_refused() -> None:
    text = "<" + "a" * 30 + "> one two three"
    with pytest.raises(DataError, match=r"before each part of input 3 must have fewer tokens .* \(20\), but .* has 34"):
        pieces_of(text, BYTES.encode(text), tokenizer=BYTES, limit=20, overflow="split", row=2)


def test_the_fronts_of_a_recipe() -> None:
    sources = [{"path": "a.tsv", "tag": "deu"}, {"path": "b.tsv", "prefix": "x: "}, {"path": "c.tsv", "prefix": "x: "}]
    assert prefixes_of(DataConfig([*sources, {"path": "d.tsv"}]).train) == ("<deu> ", "x: ")  # type: ignore[arg-type]
    assert prefixes_of([("a", "b")]) == ()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on two tasks, whose answers say which source it was asked about."""
    folder = tmp_path_factory.mktemp("fronts")
    for name in ("a", "b"):
        (folder / f"{name}.tsv").write_text("".join(f"March {i}, 2031.\t{i} {name}\n" for i in range(60)))
    sources = [
        {"path": str(folder / "a.tsv"), "tag": "fra"},
        {"path": str(folder / "b.tsv"), "prefix": "Make it short - "},
    ]
    recipe = {
        "data": {"train": sources},
        "tokenizer": {"kind": "characters", "vocab_size": 300},
        "model": {"preset": "tiny", "d_model": 32, "ffn_dim": 64, "num_heads": 2, "dropout": 0.0, "max_length": 60},
        "training": {"max_steps": 40, "batch_tokens": 1024, "warmup_steps": 5, "lr": 4e-3},
        "output": str(folder / "run"),
    }
    antiphon.train(recipe, quiet=True)
    return folder / "run"


@pytest.mark.parametrize("front", ["<fra> ", "Make it short - "])
def test_a_text_in_parts_is_answered_as_the_parts_by_hand(run: Path, front: str) -> None:
    model = antiphon.load(run)
    assert model.parts.prefixes == ("<fra> ", "Make it short - ")  # kept with the model
    asked = {"beam_size": 2, "max_new_tokens": 12}
    text = front + DAYS
    parts = split(DAYS, tokenizer=model.tokenizer, limit=60 - len(model.tokenizer.encode(front)) + 1)
    assert len(parts) > 2
    by_hand = model.generate([front + part for part in parts], **asked)
    answer, joined = model.generate(text, overflow="split", **asked)[0], " ".join(part.text for part in by_hand)
    assert (answer.text, answer.score) == (joined, pytest.approx(sum(part.score for part in by_hand), rel=1e-4))
    assert "".join(model.stream(text, overflow="split", **asked)) == joined
    bare = model.generate([front + parts[0], *parts[1:]], **asked)  # so that it tells
    assert sum(part.score for part in bare) != pytest.approx(answer.score, rel=1e-2)


def test_fronts_are_saved_and_checked(run: Path, tmp_path: Path) -> None:
    model: Model = antiphon.load(run)
    model.save(tmp_path / "copy")
    assert antiphon.load(tmp_path / "copy").parts.prefixes == model.parts.prefixes
    file = tmp_path / "copy" / "task.json"
    file.write_text('{"task": "translation", "fronts": [3]}')
    with pytest.raises(ModelError, match=r"task.json. must list texts under `fronts`"):
        antiphon.load(tmp_path / "copy")


def test_the_white_space_between_parts_is_given_back(run: Path) -> None:
    text = "March 1, 2031. March 2, 2031.\n\nMarch 3, 2031.  March 4, 2031.  \n March 5, 2031."
    model = antiphon.load(run)
    gaps = pieces_of(text, [0] * 99, tokenizer=model.tokenizer, limit=20, overflow="split", row=0).gaps
    assert gaps == ["", " ", "\n\n", "  ", "  \n "]
    asked = {"overflow": "split", "beam_size": 1, "max_new_tokens": 5}
    long = "<fra> " + text.replace("March", "March " * 6 + "the")
    answer = model.generate(long, **asked)[0].text
    assert "\n\n" in answer and "  \n " in answer
    assert "".join(model.stream(long, **asked)) == answer


@pytest.mark.parametrize(
    ("texts", "gaps", "joined"),
    [
        (["a", "b"], ["", " "], "a b"),
        (["a", "b", "c"], ["", "\n", ""], "a\nb c"),
        (["我去。", "好。"], ["", ""], "我去。好。"),
        (["I go.", "好。"], ["", ""], "I go. 好。"),
        (["", "b"], ["", ""], " b"),
        ([], [], ""),
    ],
)
def test_answers_are_joined(texts: list[str], gaps: list[str], joined: str) -> None:
    assert join_texts(texts, gaps) == joined


@pytest.mark.parametrize(
    ("data", "template"),
    [
        ({"source_field": "sst2 sentence: {sentence}"}, "sst2 sentence: {}"),
        ({"source_field": "{a} tl;dr:", "prefix": "x: "}, "x: {} tl;dr:"),
        ({"source_field": "a", "prefix": "summarize: ", "tag": "fre"}, "<fre> summarize: {}"),
        ({"source_field": "{a} and {b}"}, ""),
        ({"source_field": "{a}"}, ""),
        ({"source_field": "a"}, ""),
        ({}, ""),
    ],
)
def test_the_template_of_the_data(data: dict[str, str], template: str) -> None:
    source = SourceConfig(path="a.tsv", target_field="b" if "source_field" in data else None, **data)
    assert template_of(source) == template
    assert template_of((source, source)) == template
    other = SourceConfig(path="b.tsv", prefix="other: ")
    assert template_of((source, other)) == ""
    assert template_of([("a", "b")]) == ""


def test_texts_are_framed_once() -> None:
    assert in_template(["a", "q: a", "q: a!", "", " \t"], "q: {}!") == ["q: a!", "q: q: a!", "q: a!", "", " \t"]
    assert in_template(["a"], "") == ["a"]


def test_answers_have_the_template_of_training(tmp_path: Path) -> None:
    # S8: a model that was trained on "sst2 sentence: {sentence}" answered the bare sentence, as another task.
    rows = "".join(f"{n} a fine film\tgood\n{n} a bad one\tpoor\n" for n in range(30))
    (tmp_path / "a.tsv").write_text(f"sentence\tlabel\n{rows}")
    source = {"path": str(tmp_path / "a.tsv"), "source_field": "sst2 sentence: {sentence}", "target_field": "label"}
    run = antiphon.train(
        {
            "data": {"train": source, "valid": source},
            "tokenizer": {"kind": "bytes"},
            "model": {"preset": "tiny", "d_model": 32, "ffn_dim": 32, "num_heads": 2, "max_length": 64},
            "training": {"max_steps": 3, "batch_tokens": 400, "warmup_steps": 0},
            "output": str(tmp_path / "run"),
        },
        quiet=True,
    )
    model = antiphon.load(run.folder)
    assert model.parts.template == run.model.parts.template == "sst2 sentence: {}"
    full, bare = "sst2 sentence: a fine film", "a fine film"
    answer = model.generate(full, template=False, max_new_tokens=5)[0]
    for text, how in ((full, {}), (bare, {})):
        assert model.generate(text, max_new_tokens=5, **how)[0].score == pytest.approx(answer.score)
    assert "".join(model.stream(bare, max_new_tokens=5)) == answer.text
    assert model.generate(bare, template=False, max_new_tokens=5)[0].score != pytest.approx(answer.score)
    assert model.score([bare], ["good"]) == pytest.approx(model.score([full], ["good"]))
    assert model.attention(bare, "good").source_tokens == model.attention(full, "good").source_tokens
    report = antiphon.evaluate(model, [(bare, "good")], ["chrf"], max_new_tokens=5)
    assert report.answers[0].score == pytest.approx(answer.score)
    parts = model.generate(bare + " and" * 12, overflow="split", max_source_tokens=40, max_new_tokens=2)
    assert parts[0].text is not None
    model.save(tmp_path / "again")
    assert antiphon.load(tmp_path / "again").parts.template == "sst2 sentence: {}"
    task = json.loads((tmp_path / "again" / "task.json").read_text())
    (tmp_path / "again" / "task.json").write_text(json.dumps({**task, "template": "{} {}"}))
    with pytest.raises(ModelError, match=r"must have one {} in its `template`"):
        antiphon.load(tmp_path / "again")


def test_what_stands_behind_a_text_stands_behind_each_part(tmp_path: Path) -> None:
    # F2: a template may have words behind the text, which only the last part had.
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps({"sentence": f"March {day}", "target": f"{day}."}) + "\n" for day in range(20)))
    recipe = {
        "data": {"train": {"path": str(file), "source_field": "Day: {sentence} Answer:"}},
        "tokenizer": {"kind": "characters", "vocab_size": 300},
        "model": {"preset": "tiny", "d_model": 16, "ffn_dim": 16, "num_heads": 2, "max_length": 50},
        "training": {"max_steps": 2},
        "output": str(tmp_path / "run"),
    }
    model = antiphon.train(recipe, quiet=True).model
    asked = {"beam_size": 1, "max_new_tokens": 6}
    parts = split(DAYS, tokenizer=model.tokenizer, limit=50 - len("Day:  Answer:"))
    assert len(parts) > 2
    by_hand = sum(answer.score for answer in model.generate(parts, **asked))  # each is put into the template
    assert model.generate(DAYS, overflow="split", **asked)[0].score == pytest.approx(by_hand, rel=1e-5)
    framed_already = model.generate(f"Day: {DAYS} Answer:", overflow="split", **asked)[0]
    assert framed_already.score == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("text", ["<fra> ", "<fra>", "<fra> \u3000", "Make it short - \u200b", "Make it short -"])
def test_nothing_behind_a_prefix_of_the_data_is_empty(run: Path, text: str) -> None:
    # U2: training drops such pairs, and a model invented an answer.
    model = antiphon.load(run)
    assert [model.generate(text)[0].text, "".join(model.stream(text)), *model.score([text], [""])] == ["", "", 0.0]
    assert model.generate("<fra> 1", min_new_tokens=1)[0].text
