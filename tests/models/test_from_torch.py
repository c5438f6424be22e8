"""PyTorch's Transformer and what is read from it: equal outputs, gradients, losses; saved, searched, trained on."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from search.toys import SPECIAL, assert_same, plain_search
from torch import Tensor, nn

import antiphon
from antiphon.batch import Batch, Example, Tokens, collate
from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError
from antiphon.models import Decoder, Encoder, EncoderDecoder
from antiphon.models.families.family import Inexpressible
from antiphon.models.folders.hub import save_pretrained
from antiphon.nn import Memory
from antiphon.nn.positions import sinusoids
from antiphon.search.engine import SourceInput, answer
from antiphon.text import train_tokenizer

D_MODEL, HEADS, FFN, VOCABULARY = 16, 4, 24, 13
KINDS: dict[str, dict[str, Any]] = {
    "post": {},
    "pre": {"norm_first": True, "batch_first": True},
    "gelu without biases": {"activation": "gelu", "bias": False},
    "pre, gelu, no biases": {"norm_first": True, "activation": "gelu", "bias": False, "batch_first": True},
    "silu, another eps": {"activation": nn.functional.silu, "layer_norm_eps": 1e-3, "batch_first": True},
}
every = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
SOURCE, TARGET = ([5, 6, 7, 2], [9, 2]), ([8, 9, 3, 2], [4, 5, 8, 9, 2])
SOURCES = Tokens(torch.tensor([[0, 1, 2, 3], [0, 1, -1, -1]]))
TARGETS = Tokens(torch.tensor([[0, 1, 2, 3, -1], [0, 1, 2, 3, 4]]))


def transformer(kind: str = "post", **settings: Any) -> nn.Transformer:
    """In float64, every number random, so that no bias and no norm is what it began as; no dropout."""
    torch.manual_seed(0)
    made = nn.Transformer(D_MODEL, HEADS, 2, 3, FFN, dropout=0.0, **{**KINDS[kind], **settings}).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


def embedding(rows: int = VOCABULARY, *, seed: int = 1) -> nn.Embedding:
    torch.manual_seed(seed)
    return nn.Embedding(rows, D_MODEL).double()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layout(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Rows first or positions first, as a module takes them; its own inverse."""
    first = next(part.batch_first for part in module.modules() if isinstance(part, nn.MultiheadAttention))
    return (lambda x: x) if first else (lambda x: x.transpose(0, 1))


def causal(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def theirs(module: nn.Transformer, source: Tensor, target: Tensor) -> Tensor:
    turn = layout(module)
    return turn(
        module(
            turn(source),
            turn(target),
            tgt_mask=causal(target.shape[1]),
            src_key_padding_mask=~SOURCES.valid,
            tgt_key_padding_mask=~TARGETS.valid,
            memory_key_padding_mask=~SOURCES.valid,
        )
    )


def same(found: Tensor, wanted: Tensor, *, most: float = 1e-10) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=most)


def gradients_by_our_names(module: nn.Module, stacks: nn.Module) -> dict[str, Tensor]:
    """The gradients of PyTorch's parameters, each cut and called as ours; a norm's bias that they lack is left out."""
    names = {
        "self_attn.out_proj": "mixer.o", "multihead_attn.out_proj": "cross.o", "linear1": "ffn.up",
        "linear2": "ffn.down", "norm1": "mixer_residual.norm", "encoder.norm": "encoder.final",
        "decoder.norm": "decoder.final",
    }  # fmt: skip
    found: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        name = name.replace("norm3", "ffn_residual.norm")
        name = name.replace("norm2", "ffn_residual.norm" if name.startswith("encoder") else "cross_residual.norm")
        for one, other in names.items():
            name = name.replace(one, other)
        if "in_proj" in name:
            place, _, end = name.rpartition(".in_proj_")
            place = place.replace("self_attn", "mixer").replace("multihead_attn", "cross")
            for part, gradient in zip("qkv", parameter.grad.chunk(3), strict=True):
                found[f"{place}.{part}.{end}"] = gradient
        else:
            found[name] = parameter.grad
    missing = {name for name, _ in stacks.named_parameters()} - set(found)
    assert not set(found) - {name for name, _ in stacks.named_parameters()}
    assert all("norm" in name or "final" in name for name in missing) and all(name.endswith("bias") for name in missing)
    return found


@every
def test_the_stacks_have_equal_outputs_and_gradients(kind: str) -> None:
    module = transformer(kind)
    encoder, decoder = antiphon.from_torch(module)
    assert isinstance(encoder, Encoder) and isinstance(decoder, Decoder) and encoder.noise is decoder.noise
    source, target = draw(2, 4, D_MODEL).requires_grad_(), draw(2, 5, D_MODEL, seed=1).requires_grad_()
    weights, rows = draw(2, 5, D_MODEL, seed=2), TARGETS.valid
    wanted = theirs(module, source, target)
    (wanted * weights)[rows].sum().backward()
    expected = [source.grad, target.grad]
    source.grad = target.grad = None
    found = decoder(target, TARGETS, encoder(source, SOURCES), None)[0]
    (found * weights)[rows].sum().backward()
    same(found[rows], wanted[rows])
    for one, other, valid in zip((source.grad, target.grad), expected, (SOURCES.valid, rows), strict=True):
        assert one is not None and other is not None
        same(one[valid], other[valid])
    both = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    own = dict(both.named_parameters())
    for name, gradient in gradients_by_our_names(module, both).items():
        wanted_by_us = own[name].grad
        assert wanted_by_us is not None
        same(wanted_by_us, gradient)


@every
def test_encoder_decoder_and_layers_by_themselves(kind: str) -> None:
    module, x, read = transformer(kind), draw(2, 4, D_MODEL), draw(2, 3, D_MODEL, seed=4)
    turn, tokens, memory = layout(module), SOURCES, Memory(read, Tokens(torch.arange(3)[None]))
    for each in (module.encoder, module.encoder.layers[0], nn.TransformerEncoder(module.encoder.layers[1], 2)):
        part = antiphon.from_torch(each)
        wanted = turn(each(turn(x), src_key_padding_mask=~tokens.valid))
        same(part(x, tokens).hidden[tokens.valid], wanted[tokens.valid])
    for each in (module.decoder, module.decoder.layers[0], nn.TransformerDecoder(module.decoder.layers[1], 2)):
        part = antiphon.from_torch(each)
        wanted = turn(each(turn(x), turn(read), tgt_mask=causal(4), tgt_key_padding_mask=~tokens.valid))
        same(part(x, tokens, memory, None)[0][tokens.valid], wanted[tokens.valid])


def test_the_activation_is_what_the_module_computes() -> None:
    """PyTorch 2.13 copies a decoder layer with the module nn.GELU() into one that computes ReLU."""
    module = transformer(activation=nn.GELU())
    encoder, decoder = antiphon.from_torch(module)
    source, target = draw(2, 4, D_MODEL), draw(2, 5, D_MODEL, seed=1)
    found = decoder(target, TARGETS, encoder(source, SOURCES), None)[0]
    same(found[TARGETS.valid], theirs(module, source, target)[TARGETS.valid])
    if decoder.shape.activation != encoder.shape.activation:
        with pytest.raises(ConfigError, match="must have one `activation`, but have gelu and relu"):
            antiphon.from_torch(module, source=embedding())


def test_float32_is_close_and_the_type_and_mode_are_kept() -> None:
    module = transformer("pre").float().eval()
    encoder, decoder = antiphon.from_torch(module)
    assert not encoder.training and next(decoder.parameters()).dtype == torch.float32
    source, target = draw(2, 4, D_MODEL).float(), draw(2, 5, D_MODEL, seed=1).float()
    with torch.no_grad():
        found = decoder(target, TARGETS, encoder(source, SOURCES), None)[0]
    same(found[TARGETS.valid], theirs(module.train(), source, target)[TARGETS.valid], most=2e-5)


class Seq2Seq(nn.Module):
    """As tutorials build it: scaled embeddings, sinusoids, nn.Transformer, a generator."""

    def __init__(self, module: nn.Transformer, **parts: Any) -> None:
        super().__init__()
        rows = parts.get("rows", (VOCABULARY, VOCABULARY))
        self.module, self.source = module, embedding(rows[0])
        self.target = self.source if parts.get("shared", False) else embedding(rows[1], seed=2)
        self.generator = nn.Linear(D_MODEL, rows[1], bias=parts.get("bias", True)).double()
        if parts.get("tied", False):
            self.generator.weight = self.target.weight
        self.positions: nn.Embedding | None = embedding(20, seed=3) if parts.get("learned", False) else None
        self.scale: float = parts.get("scale", math.sqrt(D_MODEL))

    def embedded(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1])[None]
        added = sinusoids(places, D_MODEL).double() if self.positions is None else self.positions(places)
        return table(ids) * self.scale + added

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.generator(
            theirs(self.module, self.embedded(self.source, source), self.embedded(self.target, target))
        )

    def read(self, **settings: Any) -> EncoderDecoder:
        return antiphon.from_torch(
            self.module,
            source=self.source,
            target=self.target,
            output=self.generator,
            positions="sinusoidal" if self.positions is None else self.positions,
            embedding_scale=None if self.scale == math.sqrt(D_MODEL) else self.scale,
            **settings,
        )


def batch() -> Batch:
    pairs = zip(SOURCE, TARGET, strict=True)
    return collate([Example([*a], [*b], i) for i, (a, b) in enumerate(pairs)], pad_id=0, start_id=1)


WHOLE: dict[str, dict[str, Any]] = {
    "two tables": {},
    "one table, tied": {"shared": True, "tied": True},
    "learned positions, no bias": {"learned": True, "bias": False},
    "without a scale": {"scale": 1.0, "tied": True},
}


@pytest.mark.parametrize("parts", WHOLE)
@every
def test_a_whole_network_has_equal_logits_loss_and_gradients(kind: str, parts: str) -> None:
    model, data = Seq2Seq(transformer(kind), **WHOLE[parts]), batch()
    network = model.read()
    wanted = model(data.source, data.target_ids)
    same(network.logits(data)[data.label_mask], wanted[data.label_mask])
    expected = nn.functional.cross_entropy(wanted[data.label_mask], data.labels[data.label_mask])
    loss = network(data)
    same(loss, expected)
    loss.backward()
    expected.backward()
    pairs = [(network.source.table.weight, model.source.weight), (network.target.table.weight, model.target.weight)]
    pairs += [(network.output.weight, model.generator.weight)]
    if model.generator.bias is not None:
        assert isinstance(network.output_bias, nn.Parameter)
        pairs.append((network.output_bias, model.generator.bias))
    first, theirs_first = network.encoder.layers[0], model.module.encoder.layers[0]
    pairs += [(first.ffn.up.weight, theirs_first.linear1.weight), (first.ffn.down.weight, theirs_first.linear2.weight)]
    for ours, other in pairs:
        assert ours.grad is not None and other.grad is not None and other.grad.any()
        same(ours.grad, other.grad)
    if model.positions is not None:
        both = [front.positions.table.weight.grad for front in (network.source, network.target)]
        assert model.positions.weight.grad is not None
        same(both[0] + both[1], model.positions.weight.grad)


@pytest.mark.parametrize("parts", WHOLE)
@every
def test_it_is_saved_and_loaded_as_any_network(kind: str, parts: str, tmp_path: Path) -> None:
    texts = (["ababab"], ["cdcdcd"])
    tokenizers = [train_tokenizer(each, kind="bpe", vocab_size=264) for each in texts]
    shared = bool(WHOLE[parts].get("shared"))
    tokenizers = tokenizers[:1] if shared else tokenizers
    rows = [tokenizer.vocab_size for tokenizer in tokenizers]
    model = Seq2Seq(transformer(kind), **{**WHOLE[parts], "rows": (rows[0], rows[-1])}).float()
    network = model.read().eval()
    made = antiphon.Model(network, *tokenizers)
    settings = made.parts.model
    assert settings.family is None, "no record of a family is needed"
    assert settings.final_norm is (None if "pre" in kind else True)
    assert settings.output_bias == (model.generator.bias is not None)
    assert settings.embedding_scale == (None if model.scale == 4 else model.scale)
    made.save(tmp_path / "model")
    loaded, data = antiphon.load(tmp_path / "model").network, batch()
    with torch.no_grad():
        assert torch.equal(loaded.logits(data), network.logits(data))
    assert isinstance(loaded.output_bias, nn.Parameter) == settings.output_bias
    trained = {name for name, _ in network.named_parameters()}
    assert {name for name, _ in loaded.named_parameters()} == trained
    short = antiphon.load(tmp_path / "model", quantize="int8")
    assert short.generate("ab", max_new_tokens=4)
    with pytest.raises(Inexpressible, match="must have"):
        save_pretrained(tmp_path / "theirs", made.parts)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_it_is_searched_with_a_cache(beam_size: int) -> None:
    network = Seq2Seq(transformer("post")).read().eval()
    config = GenerationConfig(beam_size=beam_size, n_best=beam_size, max_new_tokens=6)
    found = answer(network, [SourceInput([5, 6, 7, 2], 0)], config, SPECIAL)[0]
    assert_same(found, plain_search(network, [5, 6, 7, 2], config))


def test_it_is_trained_on_as_pytorch_would_and_its_weights_are_copies() -> None:
    model, data = Seq2Seq(transformer("pre")), batch()
    network = model.read()
    before = copy.deepcopy(model.state_dict())
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (network, model)]
    losses = []
    for _ in range(3):
        logits = model(data.source, data.target_ids)[data.label_mask]
        both = [network(data), nn.functional.cross_entropy(logits, data.labels[data.label_mask])]
        for loss, optimizer in zip(both, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
        optimizers[0].step()
        if not losses:
            assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        optimizers[1].step()
        losses.append([loss.item() for loss in both])
    assert losses[2][0] < losses[0][0]
    for ours, other in losses:
        assert ours == pytest.approx(other, abs=1e-10)


def test_dropout_and_frozen_weights_are_kept() -> None:
    module = nn.Transformer(D_MODEL, HEADS, 1, 1, FFN, dropout=0.3)
    module.encoder.layers[0].linear1.weight.requires_grad_(False)
    with torch.no_grad():
        network = antiphon.from_torch(module, source=embedding().float())
    shape = network.encoder.shape
    assert (shape.dropout, shape.attention_dropout, shape.activation_dropout) == (0.3, 0.3, 0.3)
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert frozen == ["encoder.layers.0.ffn.up.weight"]
    assert network.training and not torch.equal(network(batch()), network(batch()))


class Own(nn.TransformerEncoderLayer):
    def forward(self, src: Tensor, *others: Any, **masks: Any) -> Tensor:
        return super().forward(src, *others, **masks) * 2


class OwnBlock(nn.TransformerEncoderLayer):
    def _ff_block(self, x: Tensor) -> Tensor:
        return 2 * super()._ff_block(x)


def with_part(name: str, part: Any) -> nn.Transformer:
    """One whose part of this path is another."""
    made = transformer()
    path, _, last = name.rpartition(".")
    setattr(made.get_submodule(path), last, part)
    return made


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (lambda: nn.TransformerEncoder(Own(D_MODEL, HEADS), 1), "`Own` has a `forward` of its own"),
        (lambda: nn.TransformerEncoder(OwnBlock(D_MODEL, HEADS), 1), "`OwnBlock` has a `_ff_block` of its own"),
        (lambda: transformer(activation=nn.functional.elu), "must be relu, gelu or silu, but is elu"),
        (lambda: transformer(activation=nn.GELU(approximate="tanh")), r"must be relu, gelu or silu, but is GELU\(appr"),
        (lambda: with_part("encoder.layers.0.self_attn", nn.MultiheadAttention(16, 4, add_bias_kv=True)), "no bias_k"),
        (
            lambda: with_part("decoder.layers.1.multihead_attn", nn.MultiheadAttention(16, 4, add_zero_attn=True)),
            "must have no add_zero_attn, .* give the torch.nn.MultiheadAttention itself as an attention",
        ),
        (lambda: with_part("decoder.layers.1.multihead_attn", nn.MultiheadAttention(16, 4, kdim=8)), "kdim or vdim"),
        (lambda: with_part("decoder.layers.1.multihead_attn", nn.MultiheadAttention(16, 2)), "one `num_heads`"),
        (
            lambda: with_part("encoder.layers.1", nn.TransformerEncoderLayer(16, 2, 24, 0.0)),
            "has 4 and layer 1 2",
        ),
        (lambda: with_part("encoder.norm", nn.RMSNorm(16)), "must be torch.nn.LayerNorm over the features"),
        (lambda: with_part("encoder.norm", nn.LayerNorm(16, eps=1e-3)), "must have the `eps`"),
        (lambda: with_part("encoder.layers.0.linear1", nn.Bilinear(2, 2, 2)), "but one is Bilinear"),
        (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4), 0), "at least one layer"),
        (lambda: nn.LSTM(3, 3), "must be a torch.nn.Transformer, .* but is LSTM"),
        (lambda: nn.MultiheadAttention(4, 2), "give it as one"),
    ],
)
def test_what_ours_cannot_be_is_refused_by_its_name(module: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        antiphon.from_torch(module())  # type: ignore[call-overload]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"target": embedding()}, "`target` goes with `source`"),
        ({"source": nn.Embedding(9, 8)}, r"`source` must have vectors of .* `d_model` \(16\), but has 8"),
        ({"source": embedding(), "output": nn.Linear(16, 9)}, r"score the ids of `target` \(13\), but scores 9"),
        ({"source": embedding(), "positions": "rotary"}, "must be one of sinusoidal, none, a torch.nn.Embedding"),
        ({"source": nn.Embedding(9, 16, max_norm=1.0)}, "must have no `max_norm`"),
        ({"source": nn.Linear(16, 9)}, "`source` must be a torch.nn.Embedding, but is Linear"),
    ],
)
def test_tables_that_do_not_fit_are_refused(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        antiphon.from_torch(transformer(), **parts)
    assert "\n" not in str(caught.value)


def test_a_whole_network_has_one_shape_and_a_whole_transformer() -> None:
    different = with_part("decoder.norm", None)
    with pytest.raises(ConfigError, match="must have one `final_norm`, but have True and False"):
        antiphon.from_torch(different, source=embedding())
    assert isinstance(antiphon.from_torch(different)[1].final, nn.Identity)
    with pytest.raises(ConfigError, match="embeddings go with a whole"):
        antiphon.from_torch(transformer().encoder, source=embedding())  # type: ignore[call-overload]


def test_a_learned_table_of_positions_may_be_longer_than_what_is_used() -> None:
    network = antiphon.from_torch(transformer(), source=embedding(), positions=embedding(20), max_length=8)
    assert network.max_length == 8 and network.source.positions.table.weight.shape == (8, D_MODEL)
    pair = antiphon.from_torch(transformer(), source=embedding(), positions=(embedding(20), embedding(12)))
    assert pair.max_length == 12
    with pytest.raises(ConfigError, match=r"at most the rows of the learned `positions` \(20\), but is 21"):
        antiphon.from_torch(transformer(), source=embedding(), positions=embedding(20), max_length=21)
