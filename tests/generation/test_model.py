"""What a user holds: texts in, answers out."""

from __future__ import annotations

import copy
import functools
import json
import math
import random
from dataclasses import replace

import pytest
import torch
from counts import count
from torture.figures import FigureRecorder

import antiphon
from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.devices import choose_device
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.generation.answers import Generation
from antiphon.generation.load import choose_dtype, load
from antiphon.generation.model import Model
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts
from antiphon.search.engine import answer
from antiphon.text import train_tokenizer

TEXTS = ["in 3 hours we go", "hello, world. This is it!", "in drei Stunden\nund mehr", "ein Haus, zwei Häuser"] * 4
KINDS = ("bpe", "unigram", "bytes", "characters")


@functools.cache
def model(kind: str = "bpe", *, seed: int = 1, max_length: int = 40, separate: bool = False) -> Model:
    """A random model over tokenizers of this kind."""
    source = train_tokenizer(TEXTS, kind=kind, vocab_size=300)
    target = train_tokenizer(TEXTS[:2], kind="bytes", vocab_size=300) if separate else source
    settings = ModelConfig(
        "tiny", d_model=16, num_heads=2, ffn_dim=24, decoder_layers=1, tie_embeddings=False, max_length=max_length
    )
    network = build_network(
        settings,
        AttentionConfig(),
        source_vocab=source.vocab_size,
        target_vocab=target.vocab_size,
        shared=not separate,
        seed=seed,
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2)
        network.output.weight[target.end_id] *= 3  # so that many answers end by themselves
    network.eval()  # as one that was loaded; in training each step of a search changes the mode of every module
    generation = GenerationConfig(beam_size=2, max_new_tokens=12)
    return Model.from_parts(Parts(network, settings, AttentionConfig(), source, target, "text", generation))


def test_answers_come_in_the_order_of_the_texts() -> None:
    texts = ["hello", "in 3 hours we go", "", "ein Haus", "hello"]
    together = model().generate(texts)
    assert [found.text for found in together] == [model().generate(text)[0].text for text in texts]
    assert len({found.text for found in together}) > 2, "the test needs different answers"
    assert model().generate([]) == []


def test_an_empty_text_has_an_empty_answer_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model().network, "encode", lambda *_: pytest.fail("the network was asked"))
    empty = Generation(text="", tokens=[], score=0.0, confidence=1.0, finished=True)
    assert model().generate("") == model().generate("", prefix="hello", temperature=1.0) == [empty]
    assert list(model().stream("")) == []
    assert model().score("", "") == [0.0]


def test_the_fields_of_an_answer() -> None:
    first = model().generate("hello, world", n_best=2, beam_size=3)[0]
    tokenizer = model().target_tokenizer
    for each in (first, *first.alternatives):
        assert "".join(each.tokens).replace("▁", " ").strip() == each.text.strip() or "<0x" in "".join(each.tokens)
        length = len(each.tokens) + each.finished
        assert each.confidence == pytest.approx(math.exp(each.score / length))
        assert 0 < each.confidence <= 1
        assert each.alternatives == [] or each is first
    assert len(first.alternatives) == 1
    assert not set(first.tokens) & set(tokenizer.pieces([0, 1, 2], specials=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_that_of_the_forced_answer(kind: str) -> None:
    """For the answers that are what the tokenizer makes of their text."""
    compared = 0
    for seed in range(12):
        held = model(kind, seed=seed)
        config = replace(held.generation, beam_size=3, n_best=3, no_repeat_ngram=1, max_new_tokens=4)
        sources = held.source_tokenizer.encode_batch(["hello", "we go"])
        for source, found in zip(
            ("hello", "we go"), answer(held.network, sources, config, held.special_tokens), strict=True
        ):
            for hypothesis in found:
                text = held.target_tokenizer.decode(hypothesis.ids)
                if held.target_tokenizer.encode(text) == hypothesis.ids:
                    assert held.score([source], [text]) == pytest.approx([hypothesis.score], abs=1e-8)
                    compared += 1
    assert compared > 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beam_size", [1, 4])
def test_streamed_pieces_are_the_text(kind: str, beam_size: int) -> None:
    for seed in range(6):
        held = model(kind, seed=seed)
        for text in ("hello, world", "we go in 3 hours", "Ä"):
            settings = {"beam_size": beam_size, "prefix": "ein" if seed % 2 else None}
            assert "".join(held.stream(text, **settings)) == held.generate(text, **settings)[0].text


def test_a_prefix_is_how_the_answer_begins() -> None:
    texts, held = ["hello", "we go", "ein Haus"], model()
    for found in held.generate(texts, prefix="in 3 ho"):
        assert found.text.startswith("in 3 ho")
    each = held.generate(texts, prefix=["hel", None, "ein Ha"])
    assert each[0].text.startswith("hel") and each[2].text.startswith("ein Ha")
    assert each[1].text == held.generate("we go")[0].text
    assert each[2].text == held.generate("ein Haus", prefix="ein Ha")[0].text
    with pytest.raises(ConfigError, match="one for each of the 3 inputs, but has 2"):
        held.generate(texts, prefix=["a", "b"])
    with pytest.raises(DataError, match=r"prefix of input 1 must have fewer tokens than .* \(40\)"):
        held.generate("hello", prefix="hello " * 60)


def test_a_network_in_training_answers_as_one_that_is_not() -> None:
    held, texts = model(), ["hello, world", "we go in 3 hours", "ein Haus"]
    trained = Model.from_parts(replace(held.parts, network=copy.deepcopy(held.network).train()))
    assert held.parts.model.dropout > 0
    for settings in ({"beam_size": 1}, {"beam_size": 3, "n_best": 2, "required": ["drei"], "prefix": "ein"}):
        assert trained.generate(texts, **settings) == held.generate(texts, **settings)
        assert list(trained.stream(texts[0], **settings)) == list(held.stream(texts[0], **settings))
    assert trained.score(texts, texts) == held.score(texts, texts)
    assert all(module.training for module in trained.network.modules())


def test_a_newline_is_kept() -> None:
    held = model("bytes")
    assert held.generate("x", prefix="a\nb")[0].text.startswith("a\nb")


def test_wrong_settings_name_the_nearest_and_both_numbers() -> None:
    held = model()
    for settings, message in [
        ({"beam_sizes": 2}, "did you mean `beam_size`"),
        ({"beam_size": 0}, "at least 1 and at most 4096, but is 0"),
        ({"n_best": 5, "beam_size": 4}, r"at most `beam_size` \(4\), but is 5"),
        ({"top_k": 3}, "needs `temperature`"),
        ({"temperature": 0}, "above 0, but is 0"),
        ({"top_p": 1.5, "temperature": 1}, "at most 1, but is 1.5"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, r"at most `max_new_tokens` \(8\), but is 9"),
        ({"max_new_tokens": 41}, r"max_length \(40\), but is 41"),
        ({"min_new_tokens": 41, "max_new_tokens": None}, r"leaves \(40\), but is 41"),
        ({"length_penalty_kind": "mean"}, "average, gnmt"),
        ({"overflow": "cut"}, "error, truncate, split"),
    ]:
        for ask in (
            lambda settings: held.generate("hello", **settings),
            lambda settings: held.stream("hello", **settings),
        ):
            with pytest.raises(ConfigError, match=message):
                ask(settings)
    with pytest.raises(DataError, match="number 2 is 5"):
        held.generate(["a", 5])  # type: ignore[list-item]
    with pytest.raises(DataError, match="one text"):
        held.stream(["a"])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="2 sources and 1 targets"):
        held.score(["a", "b"], ["c"])


def test_a_long_source_is_an_error_cut_or_split_by_setting() -> None:
    held = model("bytes", max_length=24)
    fits, long = "a" * 23, "one two three. four five six seven. eight nine"
    assert held.generate([fits])
    with pytest.raises(DataError, match=r"input 3 must have at most 24 tokens .* but has 25"):
        held.generate(["a", "b", fits + "a"])
    with pytest.raises(DataError, match="input 13 must"):
        held.generate(["a", "b", fits + "a"], first_row=10)
    assert held.generate(fits + "a!", overflow="truncate")[0].text == held.generate(fits)[0].text
    parts = ["one two three.", "four five six seven.", "eight nine"]
    alone = held.generate(parts)
    whole = held.generate(["x", long], overflow="split")[1]
    assert whole.text == " ".join(found.text for found in alone)
    assert whole.tokens == [token for found in alone for token in found.tokens]
    assert whole.score == pytest.approx(sum(found.score for found in alone))
    assert whole.finished == all(found.finished for found in alone)
    assert "".join(held.stream(long, overflow="split")) == whole.text
    prefixed = held.generate(long, overflow="split", prefix="ab")[0].text
    assert prefixed.startswith("ab") and prefixed.endswith(f" {alone[1].text} {alone[2].text}")
    for side in (("x", fits + "a"), (fits + "a", "x")):
        with pytest.raises(DataError, match="at most 24 tokens"):
            held.score(*side)


def test_saved_and_loaded_again_it_answers_alike(tmp_path) -> None:
    for name, held in (("one", model()), ("two", model(separate=True))):
        folder = held.save(tmp_path / name / "model")
        texts = ["hello", "in 3 hours"]
        expected = held.generate(texts)
        for path in (folder, tmp_path / name, str(tmp_path / name)):
            again = antiphon.load(path, device="cpu", dtype="float64")
            assert isinstance(again, antiphon.Model) and not again.network.training
            assert [found.text for found in again.generate(texts)] == [found.text for found in expected]
            assert again.generation == held.generation
        assert (again.source_tokenizer is again.target_tokenizer) == (name == "one")
    half = load(folder, dtype="bf16")
    assert half.network.output.weight.dtype == torch.bfloat16
    assert half.generate("hello", beam_size=3, n_best=3)[0].score < 0


def test_what_cannot_be_loaded_says_why(tmp_path) -> None:
    model().save(tmp_path / "model")
    for path, settings, message in [
        (tmp_path / "none", {}, "no model at .*a name on the Hugging Face hub"),
        ([], {}, "a folder or a list of folders"),
    ]:
        with pytest.raises(ModelError, match=message):
            load(path, **settings)
    with pytest.raises(ModelError, match=r"neither model/config.json nor config.json"):
        (tmp_path / "empty").mkdir()
        load(tmp_path / "empty")
    with pytest.raises(ModelError, match="`format` must be antiphon or huggingface, but is the text `onnx`"):
        model().save(tmp_path / "other", format="onnx")
    with pytest.raises(ModelError, match=r"must have `norm` .layer., but it is .rms.. Save it without `format`.$"):
        model().save(tmp_path / "other", format="huggingface")
    assert not (tmp_path / "other").exists()
    with pytest.raises(ConfigError, match="`quantize` must be int8, or left out, but is the text `int4`"):
        load(tmp_path / "model", quantize="int4")
    with pytest.raises(ConfigError, match=r"`quantize` and `dtype` must not both .* but are int8 and bfloat16"):
        load(tmp_path / "model", quantize="int8", dtype="bfloat16")
    with pytest.raises(ConfigError, match="did you mean `cuda`"):
        choose_device("cude")
    with pytest.raises(ConfigError, match="did you mean `bfloat16`"):
        choose_dtype("bfloat61")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no cuda"):
            choose_device("cuda:1")


def test_an_attention_replaces_one_role_and_lets_no_name_of_the_folder_in(tmp_path) -> None:
    folder = model().save(tmp_path / "model")
    narrow = load(folder, attention={"encoder": {"window": 1}})
    assert narrow.parts.attention == AttentionConfig(encoder={"window": 1})
    content = json.loads((folder / "config.json").read_text())
    content["attention"]["cross"] = ["full", {"all": ["antiphon_no_such_module:Rule"]}]
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="cross attention `antiphon_no_such_module:Rule` is not imported unasked"):
        load(folder, attention={"encoder": {"window": 1}})
    assert load(folder, attention={"cross": "full"}).parts.attention == AttentionConfig()


ODD = [
    "   ",
    "\t",
    "\x00",
    "a\x00b",
    "\ud800",
    "x\udfffy",
    "\ufffd",
    "\u202eabc",
    "👩‍👩‍👧",
    "ﷺ",
    "</s>",
    "<pad> <s>",
    "\n",
    "\r\n",
    "a" * 39,
    "é" * 19,
]


@pytest.mark.parametrize("kind", KINDS)
def test_odd_texts_go_through(kind: str, figures: FigureRecorder) -> None:
    dice = random.Random(kind)
    made = [
        "".join(
            chr(dice.choice([dice.randrange(128), dice.randrange(0x11000), dice.randrange(0x110000)]))
            for _ in range(12)
        )
        for _ in range(count("odd_texts") // len(KINDS))
    ]
    for found in model(kind).generate(ODD + made, overflow="split", beam_size=1, max_new_tokens=4):
        assert math.isfinite(found.score) and 0 <= found.confidence <= 1
        found.text.encode()
    figures.add("texts answered", len(ODD + made))


@pytest.mark.data
def test_the_odd_inputs_go_through(data_folder) -> None:
    texts = [json.loads(line) for line in (data_folder / "odd-inputs" / "odd_lines.jsonl").read_text().splitlines()]
    texts = [
        next(value for value in entry.values() if isinstance(value, str)) if isinstance(entry, dict) else entry
        for entry in texts
    ]
    assert texts
    answers = model().generate([text[:400] for text in texts], overflow="split", beam_size=1, max_new_tokens=4)
    assert len(answers) == len(texts) and all(math.isfinite(found.score) for found in answers)


def test_a_source_beyond_the_limit_is_read_in_windows_alone_as_in_a_batch() -> None:
    long = "in 3 hours we go, und mehr. " * 8
    texts = [long, "hello", "ein Haus, zwei Häuser", long * 2]
    with pytest.raises(DataError, match="must have at most 40 tokens"):
        model().generate(texts)
    together = model().generate(texts, overflow="window")
    for text, found in zip(texts, together, strict=True):
        alone = model().generate(text, overflow="window")[0]
        assert alone.text == found.text and alone.score == pytest.approx(found.score, abs=1e-10)
        assert "".join(model().stream(text, overflow="window")) == found.text
        # A random model may spell a text as its tokenizer would not; then its score is of other ids.
        if found.finished and model().target_tokenizer.tokens(found.text) == found.tokens:
            assert model().score(text, found.text, overflow="window")[0] == pytest.approx(found.score, abs=1e-10)
    assert together[0].score != model().generate(long, overflow="truncate")[0].score
    alone = model().generate("hello")[0]
    assert together[1].tokens == alone.tokens and together[1].score == pytest.approx(alone.score, abs=1e-10)
