"""Folders with pretrained tokenizers from the command line: ids, answers in a language, errors in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="writes the folders")

from parity.test_languages import checkpoint
from text import hub

TEXTS = ["The water was hot.", "a <mask> b", ""]


@pytest.mark.parametrize("name", ["byt5", "marian_apart", "t5_spm", "mbart_spm"])
def test_ids_of_a_folder(run, name: str, tmp_path: Path) -> None:
    made = hub.make(name, tmp_path / name, hub.sentences())
    for side, key in (("source", "text"), ("target", "text_target")):
        ended = run("tokenizer", "encode", tmp_path / name, "--side", side, input="\n".join([*TEXTS, ""]))
        assert ended.code == 0, ended.err
        theirs = [made.reference(**{key: text})["input_ids"] for text in TEXTS]
        assert [[int(id) for id in line.split()] for line in ended.lines] == theirs


def test_answers_in_a_language(run, tmp_path: Path) -> None:
    made, _ = checkpoint("m2m", tmp_path / "m2m", seed=1)
    made.reference.src_lang = "fr"
    ids = run("tokenizer", "encode", tmp_path / "m2m", "--language", "fr", input="hot\n")
    assert [int(id) for id in ids.out.split()] == made.reference("hot")["input_ids"]
    given = ["generate", tmp_path / "m2m", "--max-new-tokens", "8", "--source-language", "fr"]
    answers = [run(*given, "--target-language", code, input="hot\n").out for code in ("de", "ja")]
    assert answers[0] != answers[1]
    refused = run(*given, "--target-language", "dee", input="hot\n")
    assert refused.code != 0 and "did you mean `de`" in refused.err and "Traceback" not in refused.err
    tokenizer = hub.make("byt5", tmp_path / "byt5", hub.sentences()).path
    refused = run("tokenizer", "encode", tokenizer, "--language", "de", input="hot\n")
    assert refused.code != 0 and "needs a model that knows languages" in refused.err
