"""From a network that was made by hand to a model that answers, and back through its folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from models.hand_made import PAIRS, by_hand, one_batch, tokenizer, train
from torch import nn

import antiphon
from antiphon.config import GenerationConfig
from antiphon.errors import AntiphonError, ConfigError, ModelError
from antiphon.generation.assemble import tokenizer_pair, unwrapped
from antiphon.generation.model import Model
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder, Encoder, Shape
from antiphon.nn import Sinusoidal
from antiphon.nn.embedding import Embedding
from antiphon.runtime.quantized import Int8Linear
from antiphon.text import train_tokenizer
from antiphon.workflows.batches import batches

SOURCES = [source for source, _ in PAIRS]
TARGETS = [target for _, target in PAIRS]


@pytest.fixture(scope="module")
def model() -> Model:
    """A network that has learned its six pairs by heart."""
    network = by_hand(dropout=0.05, shape=Shape(d_model=32, num_heads=2, ffn_dim=64, dropout=0.05))
    train(network, one_batch(), steps=150, lr=5e-3)
    return Model(network, tokenizer(), generation={"max_new_tokens": 20})


def test_it_answers(model: Model) -> None:
    assert [answer.text for answer in model.generate(SOURCES)] == TARGETS
    beams = model.generate(SOURCES, beam_size=3, n_best=2)
    assert [answer.text for answer in beams] == TARGETS and all(answer.alternatives for answer in beams)
    for source, target in PAIRS:
        for beam_size in (1, 3):
            assert "".join(model.stream(source, beam_size=beam_size)) == target


def test_it_scores_looks_and_evaluates(model: Model) -> None:
    answers = model.generate(SOURCES)
    scores = model.score(SOURCES, TARGETS)
    assert scores == pytest.approx([answer.score for answer in answers], abs=1e-4)
    batch = one_batch(shuffle=False)
    network = model.network.eval()
    assert -sum(scores) == pytest.approx(float(network(batch).detach()) * int(batch.label_mask.sum()), abs=1e-3)
    maps = model.attention(*PAIRS[0])
    assert maps.cross is not None and maps.cross.shape[:2] == (2, 2)
    torch.testing.assert_close(torch.as_tensor(maps.cross).sum(-1), torch.ones(maps.cross.shape[:3]))
    report = antiphon.evaluate(model, PAIRS, metrics=["exact_match", "chrf"])
    assert report["exact_match"].score == 100
    assert "encoder" in repr(model) or "Model(" in repr(model)


def test_a_network_in_training_answers_without_dropout_and_goes_on_training() -> None:
    network = by_hand(dropout=0.5).train()
    model = Model(network, tokenizer())
    texts = [[answer.text for answer in model.generate(SOURCES, max_new_tokens=8)] for _ in range(2)]
    scores = [model.score(SOURCES, TARGETS) for _ in range(2)]
    assert texts[0] == texts[1] and scores[0] == scores[1]
    assert network.training and all(module.training for module in network.modules())
    losses = {float(network(one_batch()).detach()) for _ in range(2)}
    assert len(losses) == 2, "dropout is on in the own loop"


def test_what_the_network_learns_later_shows_in_the_answers() -> None:
    network = by_hand()
    model = Model(network, tokenizer())
    before = model.score(SOURCES, TARGETS)
    model.generate(SOURCES, max_new_tokens=4)
    train(network, one_batch(), steps=20)
    assert all(after > first for after, first in zip(model.score(SOURCES, TARGETS), before, strict=True))


def test_eight_bits_are_a_copy(model: Model) -> None:
    weights = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    short = model.quantize()
    assert any(isinstance(module, Int8Linear) for module in short.network.modules())
    assert not any(isinstance(module, Int8Linear) for module in model.network.modules())
    assert [answer.text for answer in short.generate(SOURCES)] == TARGETS
    for name, weight in model.network.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    network = copy.deepcopy(model.network).train()
    losses = train(network, one_batch(), steps=3)
    assert all(loss < 1 for loss in losses) and all(weight.grad is not None for weight in network.parameters())
    with pytest.raises(ConfigError, match=r"int4"):
        model.quantize("int4")


def test_eight_bits_are_not_saved(model: Model, tmp_path: Path) -> None:
    with pytest.raises(AntiphonError, match=r"int8|quantize"):
        model.quantize().save(tmp_path / "model")


def same(model: Model, folder: Path, **settings: Any) -> Model:
    """The model of a folder, which answers, scores and has gradients as the one that was saved."""
    loaded = antiphon.load(model.save(folder), device="cpu")
    batch = one_batch()
    for mine, theirs in zip(model.generate(SOURCES, **settings), loaded.generate(SOURCES, **settings), strict=True):
        assert mine.text == theirs.text and mine.score == pytest.approx(theirs.score, abs=1e-5)
    assert loaded.score(SOURCES, TARGETS) == pytest.approx(model.score(SOURCES, TARGETS), abs=1e-4)
    nets = [copy.deepcopy(each.network).eval().requires_grad_(True) for each in (model, loaded)]
    gradients = []
    for network in nets:
        loss = network(batch)
        loss.backward()
        gradients.append({name: weight.grad for name, weight in network.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    return loaded


def test_saved_and_loaded_it_is_the_same(model: Model, tmp_path: Path) -> None:
    loaded = same(model, tmp_path / "model", beam_size=2)
    assert loaded.generation == model.generation
    again = same(loaded, tmp_path / "again")
    assert again.parts.model == loaded.parts.model and again.parts.attention == loaded.parts.attention


def test_a_loaded_network_learns_on(model: Model, tmp_path: Path) -> None:
    loaded = antiphon.load(model.save(tmp_path / "model"), device="cpu")
    network = loaded.network.train()
    losses = train(network, next(iter(batches(PAIRS, loaded))), steps=5)
    assert losses[-1] < 1


def two_tokenizers() -> tuple[Model, Any, Any]:
    source = train_tokenizer(SOURCES, kind="bytes")
    target = train_tokenizer(TARGETS, kind="bpe", vocab_size=280)
    shape = Shape(d_model=16, num_heads=2, ffn_dim=32)
    network = EncoderDecoder(
        InputEmbedding(Embedding(source.vocab_size, 16), Sinusoidal(16)),
        Encoder(["full"], shape=shape),
        InputEmbedding(Embedding(target.vocab_size, 16), Sinusoidal(16)),
        Decoder(["full"], ["full"], shape=shape),
        max_length=64,
    )
    return Model(network, source, target), source, target


def test_two_tokenizers(tmp_path: Path) -> None:
    made, source, target = two_tokenizers()
    assert (made.source_tokenizer, made.target_tokenizer.vocab_size) == (source, target.vocab_size)
    loaded = antiphon.load(made.save(tmp_path / "model"), device="cpu")
    assert loaded.score(SOURCES, TARGETS) == pytest.approx(made.score(SOURCES, TARGETS), abs=1e-4)
    assert loaded.target_tokenizer.encode("gestern") == target.encode("gestern")
    pair = Model(made.network, (source, target))
    assert pair.score(SOURCES, TARGETS) == made.score(SOURCES, TARGETS)


def test_two_tokenizers_with_equal_sizes_keep_their_tables(tmp_path: Path) -> None:
    source, target = train_tokenizer(SOURCES, kind="bytes"), train_tokenizer(TARGETS, kind="bytes", symbols=())
    network = by_hand(vocab=source.vocab_size)  # one table for both
    made = Model(network, source, target)
    loaded = antiphon.load(made.save(tmp_path / "model"), device="cpu")
    assert loaded.network.source.table is loaded.network.target.table  # type: ignore[union-attr]
    assert loaded.score(SOURCES, TARGETS) == pytest.approx(made.score(SOURCES, TARGETS), abs=1e-4)


def test_a_table_with_spare_rows_is_saved(tmp_path: Path) -> None:
    made = Model(by_hand(vocab=tokenizer().vocab_size + 13), tokenizer())
    loaded = same(made, tmp_path / "model", max_new_tokens=6)
    assert loaded.network.vocab_size == tokenizer().vocab_size + 13


LABELS = {"pos": "positive", "neg": "negative"}
REVIEWS = [("a fine film", "positive"), ("a bad film", "negative"), ("fine", "positive"), ("bad bad", "negative")]


@pytest.mark.parametrize("labels", [LABELS, ["positive", "negative"], ("positive", "negative")])
def test_labels_make_a_classification(tmp_path: Path, labels: Any) -> None:
    words = train_tokenizer([text for pair in REVIEWS for text in pair], vocab_size=290)
    network = by_hand(vocab=words.vocab_size)
    train(network, next(iter(batches(REVIEWS, words))), steps=60)
    made = Model(network, words, labels=labels)
    assert (made.task, made.labels) == ("classification", ["positive", "negative"])
    loaded = antiphon.load(made.save(tmp_path / "model"), device="cpu")
    for each in (made, loaded):
        found = each.generate([text for text, _ in REVIEWS])
        assert [answer.text for answer in found] == [label for _, label in REVIEWS]
        assert all(0.5 < answer.confidence <= 1 for answer in found)
        assert [*each.stream("bad")] == [each.generate("bad")[0].text]
    assert loaded.labels == made.labels and loaded.task == made.task


@pytest.mark.parametrize("given", [{"beam_size": 3, "length_penalty": 0.5}, GenerationConfig(beam_size=3, length_penalty=0.5)])  # fmt: skip  # noqa: E501
def test_generation_settings_are_kept(tmp_path: Path, given: Any) -> None:
    made = Model(by_hand(), tokenizer(), generation=given)
    assert (made.generation.beam_size, made.generation.length_penalty) == (3, 0.5)
    assert antiphon.load(made.save(tmp_path / "model"), device="cpu").generation == made.generation


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"beam_sise": 3}, r"generation.beam_sise.*beam_size"),
        ({"beam_size": 0}, r"generation.beam_size.*0"),
        ({"beam_size": "x"}, r"generation.beam_size.*x"),
        (7, r"generation.*7"),
    ],
)
def test_wrong_generation_settings_are_named(given: Any, words: str) -> None:
    with pytest.raises(AntiphonError, match=words) as error:
        Model(by_hand(), tokenizer(), generation=given)
    assert "\n" not in str(error.value)


def larger() -> tuple[Any, ...]:
    return by_hand(vocab=tokenizer().vocab_size - 1), tokenizer()


def larger_source() -> tuple[Any, ...]:
    made, source, target = two_tokenizers()
    return made.network, target, source


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ("runs/demo", tokenizer()), "`network`.*EncoderDecoder.*runs/demo.*load"),
        (lambda: (None, tokenizer()), "`network`"),
        (lambda: (EncoderDecoder, tokenizer()), "`network`.*EncoderDecoder"),
        (lambda: (nn.Transformer(16, 2, 1, 1, 16), tokenizer()), "`network`.*Transformer"),
        (lambda: (by_hand().encoder, tokenizer()), "`network`.*Encoder"),
        (lambda: (Model(by_hand(), tokenizer()), tokenizer()), "`network`.*Model"),
        (lambda: (by_hand(), "bert"), "`tokenizer`.*bert"),
        (lambda: (by_hand(), None), "`tokenizer`"),
        (lambda: (by_hand(), []), "one tokenizer or two.*0"),
        (lambda: (by_hand(), [tokenizer()] * 3), "one tokenizer or two.*3"),
        (lambda: (by_hand(), [tokenizer()] * 2, tokenizer()), "one tokenizer or two.*3"),
        (lambda: (tokenizer(), by_hand()), "`network`.*Tokenizer"),
        (larger, rf"{tokenizer().vocab_size} ids.*{tokenizer().vocab_size - 1}"),
        (larger_source, "target|source"),
    ],
)
def test_what_makes_no_model_is_named_in_one_line(make: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words) as error:
        Model(*make())
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"labels": "positive"}, "labels.*positive"),
        ({"labels": [1, 2]}, "labels"),
        ({"labels": ["positive", ""]}, "labels|label"),
        ({"task": "nonsense"}, "nonsense.*task"),
        ({"task": "classification"}, "labels"),
        ({"task": "translation", "labels": ["a", "b"]}, "`labels`.*translation"),
    ],
)
def test_wrong_labels_and_tasks_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(AntiphonError, match=words):
        Model(by_hand(), tokenizer(), **settings)


def test_networks_are_taken_out_of_what_is_around_them() -> None:
    network = by_hand()
    assert unwrapped(torch.compile(network, backend="eager")) is network  # type: ignore[arg-type]

    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    assert unwrapped(Wrapper(Wrapper(network))) is network
    assert tokenizer_pair(tokenizer())[0] is tokenizer()


EXPORTABLE: Sequence[dict[str, Any]] = (
    {"shape": Shape(d_model=16, num_heads=2, ffn_dim=32, norm_placement="post")},
    {"shape": Shape(d_model=16, num_heads=2, ffn_dim=32, norm_placement="post", activation="gelu"), "tied": True},
)


@pytest.mark.parametrize("settings", EXPORTABLE)
def test_it_is_exported_to_transformers(tmp_path: Path, settings: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    made = Model(by_hand(**settings), tokenizer())
    made.save(tmp_path / "model", format="huggingface")
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").eval()
    batch = one_batch()
    found = theirs(input_ids=batch.source[:1, batch.source_tokens.valid[0]], decoder_input_ids=batch.target_ids[:1])
    ours = made.network.eval().logits(batch)[:1]
    torch.testing.assert_close(found.logits[batch.label_mask[:1]], ours[batch.label_mask[:1]], rtol=0, atol=1e-4)


def test_it_is_exported_to_ctranslate2(model: Model, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    from antiphon.export.ctranslate2 import export_ctranslate2

    export_ctranslate2(model, tmp_path / "ct2")
    import ctranslate2

    translator = ctranslate2.Translator(str(tmp_path / "ct2"), device="cpu")
    vocabulary = json.loads((tmp_path / "ct2" / "shared_vocabulary.json").read_text())
    for source, target in PAIRS:
        pieces = [vocabulary[id] for id in tokenizer().encode(source)]
        (found,) = translator.translate_batch([pieces], beam_size=1)
        ids = [vocabulary.index(piece) for piece in found.hypotheses[0]]
        assert tokenizer().decode(ids) == target
