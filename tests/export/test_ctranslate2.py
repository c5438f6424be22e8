"""What CTranslate2 reads of an exported model computes what the model computes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
from counts import count
from parity import reference

from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.errors import ModelError, WorkError
from antiphon.export import export_ctranslate2
from antiphon.export import layers as layers_of_export
from antiphon.export.ctranslate2 import words
from antiphon.generation.load import load
from antiphon.generation.model import Model
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts
from antiphon.search import engine
from antiphon.settings import override
from antiphon.text import train_tokenizer

REFUSED = {
    "longt5": "encoder attention is `Relative` and `Window`",
    "t5gemma": "does not support this model's `norm_placement`",
    "t5gemma2": "does not support this model's `norm_placement`",
}
CASES = [
    (name, seed) for name in reference.FAMILIES if name not in REFUSED for seed in range(count("exported_families"))
]
TEXTS = ["in 3 hours", "4 days ago", "a", "Monday, 5 May 2014 and a bit more"]


def model(attention: dict[str, Any] | None = None, **shape: Any) -> Model:
    """A small model with fresh weights, of one's own shape."""
    tokenizer = train_tokenizer(TEXTS * 9, kind="bpe", vocab_size=300)
    config = ModelConfig(**{"preset": "tiny", "d_model": 32, "num_heads": 4, "ffn_dim": 48, **shape})
    kinds = AttentionConfig(**(attention or {}))
    size = tokenizer.vocab_size
    network = build_network(config, kinds, source_vocab=size, target_vocab=size, shared=True, seed=3).eval()
    return Model.from_parts(Parts(network, config, kinds, tokenizer, tokenizer, "text", GenerationConfig()))


def their_answers(mine: Model, folder: Path, rows: list[list[int]], *, beams: int, most: int) -> list[list[int]]:
    """The ids that CTranslate2 finds, as the exported page says to ask."""
    translator = ctranslate2.Translator(str(folder), device="cpu", compute_type="default")
    ids = json.loads((folder / "ids.json").read_text())
    names = {side: json.loads((folder / name).read_text()) for side, name in ids["vocabularies"].items()}
    found = translator.translate_batch(
        [[names["source"][id] for id in row] for row in rows],
        target_prefix=[ids["first"]] * len(rows),
        suppress_sequences=[[token] for token in ids["never"]],
        beam_size=beams,
        min_decoding_length=mine.generation.min_new_tokens,  # the library's own is 1
        max_decoding_length=most,
        length_penalty=1.0,
    )
    numbers = {token: id for id, token in enumerate(names["target"])}
    return [[numbers[token] for token in row.hypotheses[0]] for row in found]


def our_answers(mine: Model, rows: list[list[int]], *, beams: int, most: int) -> list[list[int]]:
    settings = {"beam_size": beams, "n_best": 1, "max_new_tokens": most, "length_penalty": 1.0}
    config = override(mine.generation, settings)
    found = engine.answer(mine.network, rows, config, mine.special_tokens)
    return [[id for id in each[0].ids if id != mine.special_tokens.end] for each in found]


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_families_compute_the_same(name: str, seed: int, tmp_path: Path) -> None:
    """Each checkpoint of the parity tests, written by transformers, read by us, written for CTranslate2."""
    reference.make(reference.FAMILIES[name], seed, tmp_path / "theirs")
    mine = load(tmp_path / "theirs", device="cpu")
    report = export_ctranslate2(mine, tmp_path / "out")
    assert report.difference < 2e-3 and report.answers == 8


@pytest.mark.parametrize("name", REFUSED)
def test_families_that_it_cannot_hold_are_refused(name: str, tmp_path: Path) -> None:
    reference.make(reference.FAMILIES[name], 0, tmp_path / "theirs")
    with pytest.raises(ModelError, match=REFUSED[name]):
        export_ctranslate2(load(tmp_path / "theirs", device="cpu"), tmp_path / "out")


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"num_kv_heads": 2},
        {"num_kv_heads": 1, "head_dim": 16},
        {"positions": "relative"},
        {"positions": "learned", "norm": "layer", "bias": True},
        {"positions": "none"},
        {"norm_eps": 1e-3, "embedding_scale": 3.0},
        {"output_bias": True},
        {"positions": "sinusoidal", "norm_placement": "post", "norm": "layer", "activation": "gelu", "bias": True},
        {"encoder_layers": 3, "decoder_layers": 1, "tie_embeddings": False, "activation": "geglu"},
        {"attention_scale": 0.3, "activation": "silu"},
    ],
)
def test_our_shapes_answer_alike(shape: dict[str, Any], tmp_path: Path) -> None:
    """Log-probabilities, and the greedy answers token by token."""
    mine = model(**shape)
    report = export_ctranslate2(mine, tmp_path / "out")
    assert report.difference < 1e-4
    rows = [mine.source_tokenizer.encode(text) for text in TEXTS]
    assert their_answers(mine, tmp_path / "out", rows, beams=1, most=12) == our_answers(mine, rows, beams=1, most=12)


SEARCHES: list[dict[str, Any]] = [
    {"beam_size": 1},
    {"beam_size": 1, "no_repeat_ngram": 2, "length_penalty": 0.6},
    {"beam_size": 4, "patience": 1.0, "length_penalty": 0.6, "n_best": 3},
    {"beam_size": 3, "patience": 1.0, "repetition_penalty": 1.4, "length_penalty": 2.0},
    {"beam_size": 1, "max_new_tokens": 7, "min_new_tokens": 7},
    {"beam_size": 1, "prefix": "4 days"},
    {"beam_size": 1, "prefix": "4 days", "max_new_tokens": 9},
    {"temperature": 1e-4, "top_k": 3},
]


def page_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the code of the page defines, run as printed in its folder."""
    monkeypatch.chdir(folder)
    (code,) = re.findall(r"^```python\n(.*?)^```", Path("README.md").read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    return names


@pytest.mark.parametrize("settings", SEARCHES, ids=str)
def test_the_written_page_runs_and_answers_as_the_model(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """F9: by the settings of the model, and beyond 256 tokens of an answer, or 1,024 of a source."""
    made = model(max_length=1400)
    mine = Model.from_parts(replace(made.parts, generation=override(made.generation, settings)))
    export_ctranslate2(mine, tmp_path / "out")
    page = page_of(tmp_path / "out", monkeypatch)
    assert capsys.readouterr().out == f"{mine.generate('in 3 hours')[0].text}\n"
    long = "4 days ago " * 60 if settings in SEARCHES[:2] else "4 days ago"
    answer = mine.generate(long)[0]
    wanted = [answer.text, *(other.text for other in answer.alternatives)]
    assert page["answer"](long) == wanted
    if settings == SEARCHES[0]:
        assert len(answer.tokens) > 256, "the test needs a long answer"


def test_the_page_puts_texts_into_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # F9: the page had asked bare texts of a model that was trained on a template.
    made = model()
    search = GenerationConfig(beam_size=1, max_new_tokens=5)
    mine = Model.from_parts(replace(made.parts, generation=search, template="4 days {} 'May':"))
    export_ctranslate2(mine, tmp_path / "out")
    answer = page_of(tmp_path / "out", monkeypatch)["answer"]
    texts = ["in 3 hours", "4 days ago 'May':", "a"]
    assert [answer(text)[0] for text in texts] == [found.text for found in mine.generate(texts)]
    bare = [found.text for found in mine.generate(texts, template=False)]
    assert bare != [found.text for found in mine.generate(texts)], "the test needs a template that tells"


def test_a_long_source_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = model(max_length=1400)
    mine = Model.from_parts(replace(made.parts, generation=GenerationConfig(beam_size=1, max_new_tokens=3)))
    export_ctranslate2(mine, tmp_path / "out")
    text, page = "in 3 hours " * 300, page_of(tmp_path / "out", monkeypatch)
    assert 1024 < len(mine.source_tokenizer.encode(text)) <= 1400
    assert page["answer"](text) == [mine.generate(text)[0].text]
    assert "max_input_length=0," in Path("README.md").read_text()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"beam_size": 2}, {"patience"}),
        ({"beam_size": 2, "patience": 1.0}, set()),
        ({"beam_size": 2, "patience": 1.0, "length_penalty_kind": "gnmt"}, {"length_penalty_kind"}),
        ({"beam_size": 1, "required": ("a",), "overflow": "split"}, {"required", "overflow"}),
        ({"temperature": 1.0, "min_p": 0.1}, {"min_p"}),
    ],
)
def test_the_page_names_what_has_no_equal(settings: dict[str, Any], names: set[str], tmp_path: Path) -> None:
    made = model()
    mine = Model.from_parts(replace(made.parts, generation=override(made.generation, settings)))
    export_ctranslate2(mine, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert set(re.findall(r"^- `(\w+)`", text, re.MULTILINE)) == names


def test_a_short_model_is_exported(tmp_path: Path) -> None:
    assert export_ctranslate2(model(max_length=6), tmp_path / "out").difference < 1e-4


def test_types_are_written_and_reported(tmp_path: Path) -> None:
    mine = model(max_length=32)
    found = {kind: export_ctranslate2(mine, tmp_path / kind, kind=kind).difference for kind in ("float16", "int8")}
    assert 0 < found["float16"] < found["int8"] < 0.5
    sizes = {kind: (tmp_path / kind / "model.bin").stat().st_size for kind in found}
    assert sizes["int8"] < 0.7 * sizes["float16"]


@pytest.mark.parametrize(
    ("attention", "shape", "said"),
    [
        ({"decoder": {"window": 4}}, {}, "model's decoder attention is `Window`"),
        ({"encoder": "alibi"}, {"positions": "none"}, "model's encoder attention is `Alibi`"),
        ({"cross": "relative"}, {}, "model's cross attention is `Relative`"),
        ({"encoder": ["full", "linear"]}, {"positions": "none"}, "model's encoder attention is `LinearAttention`"),
    ],
)
def test_what_has_no_word_there_is_refused(
    attention: dict[str, Any], shape: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        export_ctranslate2(model(attention, **shape), tmp_path / "out")
    assert said in str(caught.value) and "CTranslate2 has full and relative" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_norm_behind_post_norm_layers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not support this model's `final_norm`"):
        export_ctranslate2(model(norm_placement="post", final_norm=True), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_table_is_found_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers_of_export, "_scale", lambda spec, attention: setattr(spec, "queries_scale", 0.9))
    with pytest.raises(WorkError, match=r"must give each token the model's log-probability .* but one differs by"):
        export_ctranslate2(model(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_names_of_tokens_are_all_different() -> None:
    tokenizer = model().source_tokenizer
    found = words(tokenizer, tokenizer.vocab_size + 3)
    assert len(set(found)) == tokenizer.vocab_size + 3


def test_wrong_orders_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ModelError, match="must not be there yet"):
        export_ctranslate2(model(), tmp_path / "there")
    with pytest.raises(ModelError, match="must be one of float32, float16, bfloat16, int8, but is 'int4'"):
        export_ctranslate2(model(), tmp_path / "out", kind="int4")
