"""The catalogue of score rules in tiny networks, in every role: cached = whole, padded = unpadded, heads learn."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from rule_cases import CASES, LEARNED

from antiphon.batch import Example, Tokens, collate
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.attention import Attention
from antiphon.nn.loss import CrossEntropy
from antiphon.nn.noise import Noise
from antiphon.nn.rules import Full, parts_of

EXAMPLES = [
    Example([5, 6, 7, 2], [8, 9, 2], 0),
    Example([5, 2], [8, 9, 3, 4, 5, 2], 1),
    Example([9, 4, 9, 9, 2], [2], 2),
]


def network(spec: object, **model: Any) -> EncoderDecoder:
    """A tiny model with one attention in all roles, whose rules have parameters that differ everywhere."""
    sizes = {"d_model": 16, "ffn_dim": 16, "num_heads": 4, "num_kv_heads": 2, "encoder_layers": 2, "decoder_layers": 2}
    settings = ModelConfig(preset="small", **{**sizes, "max_length": 32, "dropout": 0.0, **model})  # type: ignore[arg-type]
    attention = AttentionConfig(encoder=spec, decoder=spec, cross=spec)
    return build_network(settings, attention, source_vocab=20, target_vocab=20, shared=True).eval()


def rule_parameters(made: EncoderDecoder) -> dict[str, torch.nn.Parameter]:
    return {
        name: p for name, p in made.named_parameters() if ".rules." in name or "_rules." in name or ".rule." in name
    }


def stirred(made: EncoderDecoder) -> EncoderDecoder:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in rule_parameters(made).values():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return made.double()


# Rotary positions are those of the rule or those of the network, never both.
WITH_POSITIONS = [(name, kind) for name in CASES for kind in ("sinusoidal", "rotary") if name != kind]


@pytest.mark.parametrize(("name", "positions"), WITH_POSITIONS)
def test_cached_steps_and_chunks_equal_the_whole_row(name: str, positions: str) -> None:
    made, one = stirred(network(CASES[name].spec, positions=positions)), collate([EXAMPLES[1]], pad_id=0, start_id=1)
    memory = made.encode(one.source, one.source_tokens)
    whole, _ = made.decode(one.target_ids, one.target_tokens, memory, None)
    for cuts, width in (([1] * 6, 1), ([3, 1, 2], 3)):
        state, parts, start = made.begin(memory, width=width, capacity=6), [], 0
        for step in cuts:
            ids = one.target_ids[:, start : start + step].expand(width, -1)
            hidden, state = made.decode(ids, Tokens(torch.arange(start, start + step)[None]), memory, state)
            parts.append(hidden)
            start += step
        torch.testing.assert_close(torch.cat(parts, 1), whole.expand(width, -1, -1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", list(CASES))
def test_padding_on_either_side_changes_nothing(name: str) -> None:
    made = stirred(network(CASES[name].spec))
    ids = torch.tensor([[5, 6, 7, 8, 9, 2]])
    plain = made.encode(ids, Tokens(torch.arange(6)[None])).hidden
    padded = torch.cat([torch.full((1, 3), 11), ids, torch.full((1, 2), 11)], 1)
    memory = made.encode(padded, Tokens(torch.tensor([[-1, -1, -1, 0, 1, 2, 3, 4, 5, -1, -1]])))
    torch.testing.assert_close(memory.hidden[:, 3:9], plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", LEARNED)
def test_heads_learn_each_for_itself(name: str) -> None:
    made, batch = network(CASES[name].spec), collate(EXAMPLES, pad_id=0, start_id=1)
    parameters = rule_parameters(made)
    before = {key: parameter.detach().clone() for key, parameter in parameters.items()}
    assert parameters and all(p.dtype == torch.float32 for p in parameters.values())
    losses, gradients, optimizer = [], {}, torch.optim.SGD(parameters.values(), lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        loss = made(batch, CrossEntropy()).objective
        loss.backward()
        losses.append(float(loss.detach()))
        gradients = {key: parameter.grad.clone() for key, parameter in parameters.items()}  # type: ignore[union-attr]
        optimizer.step()
    assert losses[1] != losses[0]
    for key, gradient in gradients.items():
        assert (parameters[key] - before[key]).flatten(1 if gradient.dim() > 1 else 0).any()
        if gradient.shape[0] == 1:  # what all heads share
            continue
        assert gradient.shape[0] == 4 and all(gradient[head].any() for head in range(4)), key
        assert all(not torch.allclose(gradient[0], gradient[head], rtol=1e-3, atol=0) for head in range(1, 4)), key


def test_parameters_stand_in_the_stack_or_in_each_layer() -> None:
    assert sorted(rule_parameters(network("relative"))) == [
        f"{stack}.0.table" for stack in ("decoder.cross_rules", "decoder.rules", "encoder.rules")
    ]
    own = rule_parameters(network({"relative": {"per_layer": True}}))
    assert len(own) == 6 and all(name.endswith("rule.table") for name in own)
    assert len({id(parameter) for parameter in own.values()}) == 6


MIXED = {"all": ["relative", "qk_norm", {"window": 4}, {"relative": {"buckets": 8, "per_layer": True}}]}


def test_of_a_composition_only_what_says_so_is_copied_for_each_layer() -> None:
    made = network(MIXED)
    found = rule_parameters(made)
    for stack, role in (("encoder", "mixer"), ("decoder", "mixer"), ("decoder", "cross")):
        layers = f"{stack}.layers."
        own = sorted(name.rsplit(".", 1)[1] for name in found if name.startswith(layers) and f".{role}." in name)
        assert own == ["k_scale", "k_scale", "q_scale", "q_scale", "table", "table"]
        first, second = (layer.get_submodule(f"{role}").rule for layer in made.get_submodule(layers[:-1]))
        mine, theirs = ([*parts_of(rule)] for rule in (first, second))
        assert [one is other for one, other in zip(mine, theirs, strict=True)] == [True, False, True, False]
    shared = [name for name in found if "rules." in name]
    assert shared == ["encoder.rules.0.table", "decoder.rules.0.table", "decoder.cross_rules.0.table"]
    copied = copy.deepcopy(made)
    first, second = (parts_of(layer.mixer.rule) for layer in copied.encoder.layers)
    assert first[0] is second[0] is copied.encoder.rules[0] and first[1] is not second[1]


def test_a_shared_table_beside_one_of_each_layer_is_that_of_the_equation() -> None:
    """A network whose layers have tables of their own, all equal, computes the same, and its gradients add up."""
    spec = {"all": ["relative", "qk_norm"]}
    own = {"all": [{"relative": {"per_layer": True}}, "qk_norm"]}
    made, apart = (network(each).double() for each in (spec, own))
    weights = dict(made.named_parameters())
    stacks = {"encoder.layers.mixer": "encoder.rules", "decoder.layers.mixer": "decoder.rules"}
    stacks["decoder.layers.cross"] = "decoder.cross_rules"

    def theirs(name: str) -> str:
        stack, _, _, role, *_ = name.split(".") if ".rule.left.table" in name else ("", "", "", "", "")
        return f"{stacks[f'{stack}.layers.{role}']}.0.table" if stack else name

    with torch.no_grad():
        for name, parameter in apart.named_parameters():
            parameter.copy_(weights[theirs(name)])
    batch = collate(EXAMPLES, pad_id=0, start_id=1)
    losses = []
    for each in (made, apart):
        losses.append(each(batch, CrossEntropy()).objective)
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-12)
    sums: dict[str, torch.Tensor] = {}
    for name, parameter in apart.named_parameters():
        assert parameter.grad is not None
        sums[theirs(name)] = sums.get(theirs(name), torch.zeros_like(parameter)) + parameter.grad
    assert sums.keys() == weights.keys()
    for name, parameter in weights.items():
        torch.testing.assert_close(parameter.grad, sums[name], rtol=0, atol=1e-11)


def test_layers_with_other_rotary_bases_have_tables_of_their_own() -> None:
    """The tables of a forward are shared by the layers with one base alone."""
    x = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))
    places = torch.arange(5)[None]
    layers = []
    for base in (100.0, 10000.0):
        torch.manual_seed(1)
        layer = Attention(Full(), rotary=True, rotary_base=base)
        layer.setup(d_model=16, num_heads=2, head_dim=8, role="encoder", bias=True, dropout=0.0, noise=Noise())
        layers.append(layer.eval())
    shared = Tokens(places)
    together = [layer(x, shared, None)[0] for layer in layers]
    alone = [layer(x, Tokens(places), None)[0] for layer in layers]
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))
    assert not torch.allclose(*alone)
