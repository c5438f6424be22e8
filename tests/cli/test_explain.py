"""`antiphon explain`, `antiphon attention align` and `antiphon generate --rerank`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from generation.test_model import model

import antiphon


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(model("bpe", max_length=60).save(tmp_path_factory.mktemp("explain") / "model"))


def test_explain(run, folder: str, tmp_path: Path) -> None:
    words = ("explain", folder, "hello", "in 3", "--method", "leave-one-out", "--device", "cpu")
    ended = run(*words)
    assert ended.code == 0 and max(map(len, ended.lines)) <= 80
    assert ended.lines[:2] == ["source  hello", "answer  in 3"]
    assert "Caveat: A source with a missing token" in ended.out and "deletion test: " in ended.out
    found = json.loads(run(*words, "--json", "--skip-test").out)
    assert [word["text"] for word in found["words"]] == ["in", "3"] and "faithfulness" not in found
    held = antiphon.explain(antiphon.load(folder, device="cpu"), "hello", "in 3", method="leave-one-out", test=False)
    assert found["words"][0]["attributions"] == pytest.approx(held.weights[0].tolist())
    page = run(*words, "--output", tmp_path / "page.html")
    assert page.out == "" and "page.html" in page.err and (tmp_path / "page.html").stat().st_size > 4000


def test_the_test_of_many_lines(run, folder: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hello\n\nin 3 hours\nein Haus\nwe go\n")
    words = ("explain", folder, "--input", tmp_path / "in.txt", "--device", "cpu")
    ended = run(*words, "--method", "rollout", "--limit", 3)
    assert ended.code == 0 and len(ended.lines) == 3 and ended.lines[2].startswith("| rollout | ")
    assert "needs a SOURCE text or --input FILE, but both" in run(*words[:2], "x", *words[2:]).err
    assert run("explain", folder).code == 2 and run(*words, "--json").code == 2
    assert run("explain", folder, "x", "--output", "a.png").code == 2
    (tmp_path / "empty.txt").write_text("\n")
    assert run("explain", folder, "--input", tmp_path / "empty.txt").code == 2


def test_align(run, folder: str, tmp_path: Path) -> None:
    files = {"s": "in 3 hours\nhello\n", "t": "in drei Stunden\nein Haus\n", "gold": "0-0 1-1 2?2\n0-0\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    words = ("attention", "align", folder, "--source", tmp_path / "s", "--target", tmp_path / "t", "--device", "cpu")
    ended = run(*words, "--gold", tmp_path / "gold")
    assert ended.code == 0 and len(ended.lines) == 2 and "alignment error rate " in ended.err
    links = [word.split("-") for word in " ".join(ended.lines).split()]
    found = json.loads(run(*words, "--gold", tmp_path / "gold", "--json").out)
    assert found["links"] == len(links) and 0 <= found["aer"] <= 1
    assert run(*words, "--json").code == 2
    (tmp_path / "gold").write_text("0-0 x\n0-0\n")
    assert "gold:1" in run(*words, "--gold", tmp_path / "gold").err
    (tmp_path / "gold").write_text("0-0\n")
    assert "there are 2 and 1" in run(*words, "--gold", tmp_path / "gold").err


def test_rerank(run, folder: str, tmp_path: Path) -> None:
    held = antiphon.load(folder, device="cpu")
    (tmp_path / "in.txt").write_text("hello\n\nin 3 hours\n")
    words = ("generate", folder, "--input", tmp_path / "in.txt", "--device", "cpu")
    ended = run(*words, "--rerank", "chrf", "--candidates", 4, "--json")
    assert ended.code == 0 and "reranked by chrf: 3 inputs, " in ended.err
    expected = antiphon.rerank(held, ["hello", "", "in 3 hours"], by="chrf", candidates=4)
    assert [json.loads(line)["text"] for line in ended.lines] == [answer.text for answer in expected]
    both = run(*words, "--rerank", folder, "--rerank-weight", 0.2, "--candidates", 3, "--n-best", 2)
    assert both.code == 0 and len(both.lines) == 6
    (tmp_path / "t.jsonl").write_text('{"source": "hello"}\n')
    row = run("generate", folder, "--input", tmp_path / "t.jsonl", "--rerank", "chrf", "--candidates", 4)
    assert json.loads(row.lines[0])["answer"] == expected[0].text
    assert run(*words, "--candidates", 3).code == 2
    assert "--rerank chooses among whole answers" in run(*words, "--rerank", "chrf", "--stream").err
