"""The network, computed twice: cached = whole, padded = unpadded, batch = single, chunks = whole, saved = loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from antiphon.batch import Example, Tokens, collate
from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.models.attentions import build_rule, saved_spec
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import (
    Parts,
    load_parts,
    load_weights,
    named_weights,
    save_model_folder,
)
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import count_parameters
from antiphon.nn.loss import CrossEntropy
from antiphon.nn.mixers import Additive
from antiphon.nn.rules import Alibi, Relative, ScoreRule, Window
from antiphon.text import train_tokenizer

MODELS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "paper": ({"norm_placement": "post"}, {}),
    "rotary": ({"positions": "rotary", "norm": "rms", "bias": False, "activation": "swiglu"}, {}),
    "alibi": ({"positions": "alibi", "activation": "gelu"}, {}),
    "relative": ({"positions": "relative", "activation": "geglu"}, {}),
    "learned": ({"positions": "learned", "activation": "silu", "tie_embeddings": False}, {}),
    "grouped": ({"positions": "rotary", "num_kv_heads": 2}, {"decoder": {"window": 2}}),
    "multi-query, wide heads": ({"num_kv_heads": 1, "head_dim": 6}, {}),
    "deep and shallow": ({"encoder_layers": 3, "decoder_layers": 1}, {}),
    "additive": ({}, {"encoder": "additive", "decoder": "additive", "cross": "additive"}),
    "alternating": (
        {"positions": "none", "decoder_layers": 3},
        {"decoder": ["full", {"all": ["alibi", {"window": 2}]}]},
    ),
    "scaled by 1/d": ({"attention_scale": 0.125}, {}),
    "sandwich": ({"norm_placement": "sandwich", "norm": "rms"}, {}),
    "capped": ({"positions": "rotary", "rotary_base": 50.0, "output_cap": 1.5}, {}),
}
EXAMPLES = [
    Example([5, 6, 7, 2], [8, 9, 2], 0),
    Example([5, 2], [8, 9, 3, 4, 5, 2], 1),
    Example([9, 4, 9, 4, 9, 9, 2], [2], 2),
]


def config(name: str) -> tuple[ModelConfig, AttentionConfig]:
    settings, attention = MODELS[name]
    base: dict[str, object] = {
        "d_model": 32,
        "ffn_dim": 48,
        "num_heads": 4,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "max_length": 32,
    }
    return ModelConfig(preset="small", **{**base, **settings}), AttentionConfig(**attention)  # type: ignore[arg-type]


def network(name: str, *, shared: bool = True, seed: int = 0) -> EncoderDecoder:
    model, attention = config(name)
    return build_network(model, attention, source_vocab=20, target_vocab=20, shared=shared, seed=seed).double().eval()


@pytest.mark.parametrize("name", list(MODELS))
def test_cached_steps_and_chunks_equal_the_whole_row(name: str) -> None:
    made, one = network(name), collate([EXAMPLES[1]], pad_id=0, start_id=1)
    memory = made.encode(one.source, one.source_tokens)
    whole, _ = made.decode(one.target_ids, one.target_tokens, memory, None)
    for cuts in ([1] * 6, [3, 1, 2], [6]):
        for width in (1, 3):
            state, parts, start = made.begin(memory, width=width, capacity=6), [], 0
            for length in cuts:
                tokens = Tokens(torch.arange(start, start + length)[None])
                ids = one.target_ids[:, start : start + length].expand(width, -1)
                hidden, state = made.decode(ids, tokens, memory, state)
                parts.append(hidden)
                start += length
            torch.testing.assert_close(torch.cat(parts, 1), whole.expand(width, -1, -1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", list(MODELS))
def test_batch_equals_single_rows_in_loss_and_gradients(name: str) -> None:
    made, criterion = network(name), CrossEntropy(0.1)
    together = made(collate(EXAMPLES, pad_id=0, start_id=1), criterion).objective
    alone = sum(made(collate([example], pad_id=0, start_id=1), criterion).objective for example in EXAMPLES)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)
    parameters = list(made.parameters())
    for one, other in zip(
        torch.autograd.grad(together, parameters), torch.autograd.grad(alone, parameters), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", list(MODELS))
def test_padding_on_either_side_changes_nothing(name: str) -> None:
    made = network(name)
    ids = torch.tensor([[5, 6, 7, 2]])
    plain = made.encode(ids, Tokens(torch.arange(4)[None])).hidden
    for left, right in ((0, 3), (3, 0), (2, 2)):
        pos = torch.tensor([[-1] * left + [0, 1, 2, 3] + [-1] * right])
        padded = torch.cat([torch.full((1, left), 11), ids, torch.full((1, right), 11)], 1)
        memory = made.encode(padded, Tokens(pos))
        torch.testing.assert_close(memory.hidden[:, left : left + 4], plain, rtol=0, atol=1e-10)
        assert not memory.hidden[pos < 0].any()


@pytest.mark.parametrize("name", list(MODELS))
def test_no_later_token_has_an_influence(name: str) -> None:
    made, one = network(name), collate([EXAMPLES[1]], pad_id=0, start_id=1)
    memory = made.encode(one.source, one.source_tokens)
    whole, _ = made.decode(one.target_ids, one.target_tokens, memory, None)
    changed = one.target_ids.clone()
    changed[:, 4:] = 13
    other, _ = made.decode(changed, one.target_tokens, memory, None)
    torch.testing.assert_close(whole[:, :4], other[:, :4], rtol=0, atol=0)
    assert not torch.allclose(whole[:, 4:], other[:, 4:])


@pytest.mark.parametrize("name", list(MODELS))
def test_every_parameter_gets_a_gradient(name: str) -> None:
    made = network(name, shared=False)
    made(collate(EXAMPLES, pad_id=0, start_id=1), CrossEntropy()).objective.backward()
    assert [key for key, parameter in made.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", list(MODELS))
def test_saved_is_loaded(name: str, tmp_path: Path) -> None:
    model, attention = config(name)
    tokenizer = train_tokenizer(["in 3 hours", "in 3 Stunden"], kind="bytes", vocab_size=260)
    made = build_network(model, attention, source_vocab=260, target_vocab=260, shared=True, seed=3).eval()
    parts = Parts(made, model, attention, tokenizer, tokenizer, "translation", GenerationConfig(beam_size=2))
    save_model_folder(tmp_path / "model", parts)
    back = load_parts(tmp_path / "model")
    assert back.model == model and back.generation == parts.generation and back.shared
    batch = collate(EXAMPLES, pad_id=0, start_id=1)
    with torch.no_grad():
        assert torch.equal(made(batch, CrossEntropy()).nll, back.network(batch, CrossEntropy()).nll)


def test_tied_tables_are_saved_once() -> None:
    tied, untied = network("paper"), network("learned", shared=False)
    assert sum("table" in name or name == "output.weight" for name in named_weights(tied)) == 1
    assert len([name for name in named_weights(untied) if name.endswith(("table.weight", "output.weight"))]) == 5
    assert count_parameters(tied) == sum(tensor.numel() for tensor in named_weights(tied).values())


def test_dropout_is_on_in_training_and_a_function_of_the_step() -> None:
    made, batch = network("paper").train(), collate(EXAMPLES, pad_id=0, start_id=1)
    losses = []
    for step in (0, 1, 0):
        made.noise.set(seed=1, step=step, micro_batch=0)
        losses.append(float(made(batch, CrossEntropy()).nll))
    assert losses[0] == losses[2] != losses[1]


def test_presets_have_the_papers_sizes() -> None:
    # Vaswani et al. 2017, table 3: 65 and 213 million with a vocabulary of 37,000.
    for preset, millions in (("base", 63), ("big", 214)):
        with torch.device("meta"):
            made = build_network(
                ModelConfig(preset=preset), AttentionConfig(), source_vocab=37000, target_vocab=37000, shared=True
            )
        assert round(count_parameters(made) / 1e6) == millions


class Fade(ScoreRule):
    """An attention of a user's own."""

    additive = True

    def setup(self, *, num_heads: int, head_dim: int, role: str) -> None:
        self.rate = torch.nn.Parameter(torch.full((num_heads,), 0.1))

    def score(
        self, score: torch.Tensor, batch: torch.Tensor, head: torch.Tensor, q_pos: torch.Tensor, k_pos: torch.Tensor
    ) -> torch.Tensor:
        return score - self.rate[head] * (q_pos - k_pos).abs()


def test_an_instance_is_copied_for_each_stack_and_shared_by_its_layers() -> None:
    model, _ = config("paper")
    rule = Fade()
    made = build_network(
        model, AttentionConfig(encoder=rule, decoder=rule & Window(3)), source_vocab=9, target_vocab=9, shared=True
    )
    rates = [name for name, _ in made.named_parameters() if name.endswith("rate")]
    assert rates == ["encoder.rules.0.rate", "decoder.rules.0.left.rate"]
    assert not list(rule.parameters())


def test_objects_are_saved_by_their_names_and_settings() -> None:
    assert saved_spec(Window(3)) == {"window": 3}
    assert saved_spec([Alibi(), Relative(buckets=8)]) == ["alibi", {"relative": {"buckets": 8}}]
    assert saved_spec(Alibi() & Window(window=2)) == {"all": ["alibi", {"window": {"window": 2}}]}
    assert saved_spec(Additive()) == "additive"
    assert saved_spec(Fade()) == f"{__name__}:Fade"
    assert build_rule(saved_spec(Relative(buckets=8))).buckets == 8  # type: ignore[union-attr]


def test_an_object_without_a_name_is_not_saved(tmp_path: Path) -> None:
    class Local(Fade):
        """Nobody can import it."""

    model, _ = config("paper")
    attention = AttentionConfig(encoder=Local())
    tokenizer = train_tokenizer(["a"], kind="bytes", vocab_size=260)
    made = build_network(model, attention, source_vocab=260, target_vocab=260, shared=True)
    parts = Parts(made, model, attention, tokenizer, tokenizer, "text", GenerationConfig())
    with pytest.raises(ModelError, match="Local has none that another process could import"):
        save_model_folder(tmp_path, parts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ful", "did you mean `full`"),
        ({"window": 0}, "a whole number of at least 1, but is 0"),
        ({"window": {"width": 3}}, "it takes window"),
        ({"all": []}, "must be a list of rules"),
        ({"all": ["full", "additive"]}, "must hold score rules"),
        (7, "must be a ScoreRule, a Mixer, a function"),
    ],
)
def test_wrong_attentions_are_one_line(spec: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_rule(spec)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    model, attention = config("paper")
    tokenizer = train_tokenizer(["a"], kind="bytes", vocab_size=260)
    made = build_network(model, attention, source_vocab=260, target_vocab=260, shared=True)
    parts = Parts(made, model, attention, tokenizer, tokenizer, "text", GenerationConfig())
    save_model_folder(tmp_path, parts)
    config_file = tmp_path / "config.json"
    config_file.write_text(config_file.read_text().replace('"ffn_dim": 48', '"ffn_dim": 49'))
    with pytest.raises(ModelError, match=r"`encoder.layers.0.ffn.up.weight` must be \(49, 32\), but is \(48, 32\)"):
        load_parts(tmp_path)
    save_model_folder(tmp_path, replace(parts, model=replace(model, encoder_layers=3)))
    with pytest.raises(ModelError, match=r"lacks `encoder.layers.2"):
        load_parts(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="must be a safetensors file"):
        load_weights(tmp_path / "model.safetensors")
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match=r"must hold the file config\.json, but does not"):
        load_parts(tmp_path)
