"""Networks that are made by hand: their first weights, their loss, and what of them is refused."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from models.hand_made import by_hand, one_batch, tokenizer
from torch import Tensor, nn
from torch.nn import functional

from antiphon.batch import Batch
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.errors import AttentionError, ConfigError, DataError
from antiphon.models.build import build_network
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder, Encoder, Shape
from antiphon.nn import Alibi, Attention, Full, Learned, NoPositions, Relative, ScoreRule, Sinusoidal
from antiphon.nn.embedding import Embedding
from antiphon.nn.loss import CrossEntropy
from antiphon.text import train_tokenizer
from antiphon.text.phrases import phrases
from antiphon.workflows.batches import batches

SHAPE = Shape(d_model=16, num_heads=2, ffn_dim=32)


def front(size: int, width: int = 16, **settings: Any) -> InputEmbedding:
    return InputEmbedding(Embedding(size, width), Sinusoidal(width), **settings)


GATED = {"activation": "geglu", "norm": "rms", "bias": False}


@pytest.mark.parametrize("placement", ["pre", "post", "sandwich"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("kind", "settings", "shape"),
    [
        ("full", {}, {}),
        ("relative", {}, {}),
        ("delta", {}, {}),
        ("full", GATED, GATED),
    ],
)
def test_a_seed_gives_the_weights_that_build_network_gives(
    kind: str, settings: dict[str, Any], shape: dict[str, Any], placement: Any, shared: bool
) -> None:
    model = ModelConfig(
        preset="small", d_model=16, num_heads=2, ffn_dim=32, encoder_layers=2, decoder_layers=1, dropout=0.0,
        norm_placement=placement, tie_embeddings=shared, **settings,
    )  # fmt: skip
    attention = AttentionConfig(encoder=kind, decoder=kind)
    made = build_network(model, attention, source_vocab=30, target_vocab=30, shared=shared, seed=7)
    torch.manual_seed(7)
    layers = Shape(d_model=16, num_heads=2, ffn_dim=32, norm_placement=placement, **shape)
    encoder = Encoder([kind, kind], shape=layers)
    decoder = Decoder([kind], ["full"], shape=layers)
    tables = Embedding(30, 16), Embedding(30, 16)
    source = InputEmbedding(tables[1] if shared else tables[0], Sinusoidal(16))
    output = None if shared else Embedding(30, 16)
    own = EncoderDecoder(source, encoder, InputEmbedding(tables[1], Sinusoidal(16)), decoder, output)
    assert own.state_dict().keys() == made.state_dict().keys()
    for name, weight in made.state_dict().items():
        assert torch.equal(own.state_dict()[name], weight), name


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize("table", [Embedding, nn.Embedding])
def test_the_first_loss_is_near_that_of_a_guess(placement: str, table: type[nn.Embedding]) -> None:
    pairs = phrases().train[:400]
    bpe = train_tokenizer([text for pair in pairs for text in pair], vocab_size=600)
    shape = Shape(d_model=64, num_heads=4, norm_placement=placement)
    torch.manual_seed(3)
    both = table(bpe.vocab_size, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = EncoderDecoder(
            InputEmbedding(both, Sinusoidal(64)),
            Encoder(["full"] * 3, shape=shape),
            InputEmbedding(both, Sinusoidal(64)),
            Decoder(["full"] * 3, ["full"] * 3, shape=shape),
        )
    batch = next(iter(batches(pairs, bpe, batch_tokens=4096)))
    assert bpe.vocab_size == 600
    assert float(network(batch)) == pytest.approx(math.log(600), rel=0.1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tied": False, "output_scale": 0.25},
        {"output_cap": 3.0},
        {"learned_output_bias": True},
        {"learned_output_bias": True, "output_cap": 2.0, "tied": False},
        {"output_bias": True},
    ],
)
def test_the_loss_is_torchs_cross_entropy_of_the_logits(settings: dict[str, Any]) -> None:
    network, batch = by_hand(**settings).double(), one_batch()
    if network.output_bias is not None:
        nn.init.normal_(network.output_bias)
    weights = list(network.parameters())
    logits = network.logits(batch)
    assert logits.shape == (*batch.labels.shape, network.vocab_size)
    expected = functional.cross_entropy(logits[batch.label_mask], batch.labels[batch.label_mask])
    for loss in (network(batch), network(batch, functional.cross_entropy)):
        torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
        for mine, theirs in zip(
            torch.autograd.grad(loss, weights), torch.autograd.grad(expected, weights, retain_graph=True), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-11)
    with torch.no_grad():
        torch.testing.assert_close(network(batch), expected, rtol=0, atol=1e-12)


def test_criteria_of_ones_own_get_logits_and_labels() -> None:
    network, batch = by_hand().double(), one_batch()
    n = int(batch.label_mask.sum())
    smooth = network(batch, nn.CrossEntropyLoss(label_smoothing=0.1))
    torch.testing.assert_close(smooth, network(batch, CrossEntropy(0.1)).objective / n, rtol=0, atol=1e-12)
    assert smooth > network(batch)

    def focal(logits: Tensor, labels: Tensor) -> Tensor:
        assert logits.shape == (n, network.vocab_size) and labels.shape == (n,)
        nll = functional.cross_entropy(logits, labels, reduction="none")
        return ((1 - (-nll).exp()) * nll).mean()

    loss = network(batch, focal)
    assert 0 < loss < network(batch)
    loss.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


def test_a_batch_without_labels_has_the_loss_zero() -> None:
    network, batch = by_hand(), one_batch()
    mask = torch.zeros_like(batch.label_mask)
    empty = replace(batch, label_mask=mask, label_places=mask.flatten().nonzero()[:, 0])
    loss = network(empty)
    loss.backward()
    assert float(loss.detach()) == 0


def message(error: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (nn.CrossEntropyLoss(reduction="none"), ["one number", "shape (", "mean"]),
        (lambda logits, labels: float(functional.cross_entropy(logits, labels)), ["one number", "a tensor", "float"]),
        (lambda logits, labels: None, ["one number", "a tensor", "NoneType"]),
        (nn.CrossEntropyLoss, ["`criterion`", "class CrossEntropyLoss", "CrossEntropyLoss()"]),
        ("cross_entropy", ["criterion", "cross_entropy", "CrossEntropyLoss()"]),
    ],
)
def test_a_criterion_that_gives_no_number_is_named(loss: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        by_hand()(one_batch(), loss)
    for word in words:
        assert word in message(error)


@pytest.mark.parametrize("what", ["source", "target_ids", "labels"])
@pytest.mark.parametrize(("id", "shown"), [(300, "300"), (-1, "-1")])
@pytest.mark.parametrize("criterion", [None, functional.cross_entropy])
def test_ids_that_the_tables_lack_are_named(what: str, id: int, shown: str, criterion: Any) -> None:
    network, batch = by_hand(vocab=300), one_batch()
    ids = getattr(batch, what).clone()
    ids[0, 0] = id
    with pytest.raises(DataError) as error:
        network(replace(batch, **{what: ids}), criterion)
    assert "from 0 to 299" in message(error) and shown in message(error)
    assert what.split("_")[0] in message(error)


def test_labels_where_none_is_asked_may_be_anything() -> None:
    network, batch = by_hand(), one_batch()
    ignored = torch.where(batch.label_mask, batch.labels, -100)  # PyTorch's ignore_index
    assert not batch.label_mask.all()
    assert torch.equal(network(replace(batch, labels=ignored)), network(batch))


class WrongMask(ScoreRule):
    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return torch.ones(3, 5, dtype=torch.bool)


class WrongKind(ScoreRule):
    def mask(self, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return (q_pos - k_pos).float()


class WrongScore(ScoreRule):
    def score(self, logits: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> Tensor:
        return torch.zeros(3, 5)


def wrong_function(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2)).masked_fill(~mask, float("-inf")).softmax(-1)  # without the values


@pytest.mark.parametrize(
    ("entry", "gave"),
    [(WrongMask, "(3, 5)"), (WrongKind, "torch.float32"), (WrongScore, "(3, 5)"), (wrong_function, "(6, 2, 14, 14)")],
)
def test_an_attention_of_a_wrong_shape_is_named_with_both_shapes(entry: Any, gave: str) -> None:
    network, batch = by_hand([entry]), one_batch()
    with pytest.raises(AttentionError) as error:
        network(batch)
    for word in (entry.__name__, "encoder", gave, "torch.bool" if entry is WrongKind else str(batch.source.shape[1])):
        assert word in message(error)


def parts(**settings: Any) -> tuple[Any, ...]:
    given = {"source": 16, "encoder": 16, "target": 16, "decoder": 16, "output": None, "vocab": 30, **settings}
    return (
        front(30, given["source"]),
        Encoder(["full"], shape=Shape(d_model=given["encoder"], num_heads=2)),
        front(30, given["target"]),
        Decoder(["full"], ["full"], shape=Shape(d_model=given["decoder"], num_heads=2)),
        None if given["output"] is None else Embedding(given["vocab"], given["output"]),
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": 24}, ["source", "encoder", "16", "24"]),
        ({"encoder": 24}, ["source", "encoder", "16", "24"]),
        ({"target": 24}, ["target", "decoder", "16", "24"]),
        ({"source": 24, "encoder": 24}, ["cross-attention", "encoder", "16", "24"]),
        ({"output": 24}, ["output", "decoder", "16", "24"]),
        ({"output": 16, "vocab": 31}, ["output", "30", "31"]),
    ],
)
def test_parts_of_different_widths_are_named(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        EncoderDecoder(*parts(**settings))
    for word in words:
        assert word in message(error)


@pytest.mark.parametrize("kind", [Sinusoidal, lambda width: Learned(width, max_length=64)])
def test_positions_of_another_width_are_named(kind: Any) -> None:
    given = list(parts())
    given[2] = InputEmbedding(Embedding(30, 16), kind(24))
    with pytest.raises(ConfigError, match=r"positions of the target.*16.*24"):
        EncoderDecoder(*given)


def test_parts_in_a_wrong_order_are_named() -> None:
    source, encoder, target, decoder, _ = parts()
    for wrong in ([encoder, source, target, decoder], [source, decoder, target, encoder], [source, encoder, decoder, target]):  # fmt: skip  # noqa: E501
        with pytest.raises(ConfigError, match=r"must be an? "):
            EncoderDecoder(*wrong)
    with pytest.raises(ConfigError, match=r"`output` must be.*Embedding.*Linear"):
        EncoderDecoder(source, encoder, target, decoder, nn.Linear(16, 30))  # type: ignore[arg-type]


def test_stacks_refuse_what_does_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"as self-attentions \(2\), but has 1\b"):
        Decoder(["full"] * 2, ["full"], shape=SHAPE)
    with pytest.raises(ConfigError, match=r"list of attentions"):
        Encoder("full", shape=SHAPE)
    with pytest.raises(ConfigError, match=r"multiple of `num_heads`.*3.*16"):
        Shape(d_model=16, num_heads=3)
    with pytest.raises(ConfigError, match=r"nothing_like_it"):
        Encoder(["nothing_like_it"], shape=SHAPE)


@pytest.mark.parametrize(("name", "value"), [("norm_placement", "middle"), ("activation", "tanhh"), ("norm", "batch")])
def test_words_that_a_shape_does_not_know_are_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.*{value}"):
        Encoder(["full"], shape=Shape(d_model=16, num_heads=2, **{name: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), [("dropout", 1.0), ("dropout", -0.1), ("layer_drop", 2.0), ("d_model", 0), ("num_heads", 0)])  # fmt: skip  # noqa: E501
def test_numbers_that_a_shape_cannot_have_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"`{name}`.*{value}"):
        Shape(**{"d_model": 16, "num_heads": 2, name: value})


def test_a_mixer_stands_in_one_stack_alone() -> None:
    mixer = Attention(Full())
    Encoder([mixer, mixer], shape=SHAPE)  # in one stack each layer has one of its own
    with pytest.raises(ConfigError, match=r"Attention.*encoder of another stack"):
        Decoder([mixer], ["full"], shape=SHAPE)


def test_a_mixer_in_both_places_of_a_decoder_layer_is_copied() -> None:
    mixer = Attention(Full())
    layer: Any = Decoder([mixer], [mixer], shape=SHAPE).layers[0]
    assert (layer.mixer.role, layer.cross.role) == ("decoder", "cross")
    assert layer.mixer.q.weight is not layer.cross.q.weight


def test_a_rule_object_stands_in_one_stack_alone() -> None:
    rule = Relative()
    stack = Encoder([Attention(rule), Attention(rule)], shape=SHAPE)
    assert len(stack.rules) == 1
    with pytest.raises(ConfigError, match=r"rule.*Relative.*encoder of another stack"):
        Decoder([Attention(rule)], ["full"], shape=SHAPE)
    decoder = Decoder([rule], ["full"], shape=SHAPE)  # an entry that is a rule is copied
    assert not {id(p) for p in stack.parameters()} & {id(p) for p in decoder.parameters()}
    both = Relative()
    with pytest.raises(ConfigError, match=r"rule.*Relative.*decoder of another stack"):
        Decoder([Attention(both)], [Attention(both)], shape=SHAPE)


def test_layers_of_one_stack_do_not_share_their_projections() -> None:
    mixer = Attention(Full())
    stack = Encoder([mixer, mixer], shape=SHAPE)
    first, second = (dict(layer.named_parameters()) for layer in stack.layers)
    assert first.keys() == second.keys()
    assert all(first[name] is not second[name] for name in first)


@pytest.mark.parametrize("entry", [Relative, Relative(), "relative"])
def test_layers_with_one_entry_share_its_rule(entry: Any) -> None:
    shared = Encoder([entry, entry], shape=SHAPE)
    assert len(shared.rules) == 1
    apart = Encoder([Relative(), Relative()], shape=SHAPE)
    assert len(apart.rules) == 2


def test_rules_that_are_given_are_not_changed() -> None:
    rule = Alibi()
    Encoder([rule], shape=SHAPE)
    Decoder([rule], ["full"], shape=SHAPE)
    assert "role" not in vars(rule) and not list(rule.parameters())


def test_a_network_without_positions_reads_any_length() -> None:
    network = by_hand(positions=lambda _: NoPositions(), max_length=4)
    assert network(one_batch()).isfinite()


def test_the_tokenizer_is_the_size_that_the_tests_say() -> None:
    assert tokenizer().vocab_size < 300 and isinstance(one_batch(), Batch)
