"""A network that scores pairs as an attention: the features that it is given, its weights, its name."""

from __future__ import annotations

import copy
from typing import Any

import own_attentions as own
import pytest
import torch
from nn.toy_mixers import HEADS, ROLES, WIDTH, draw, row, run, same, source
from torch import Tensor, nn

from antiphon.errors import AttentionError, ConfigError
from antiphon.nn import Additive, Dropout, ScorerAttention
from antiphon.nn.layers import initialize
from antiphon.nn.noise import Noise
from antiphon.runtime.quantized import Int8Linear, quantize_linears

DIM = 5  # of a head; 4 heads, so that no two widths of features are equal
SETTINGS: dict[str, Any] = {"d_model": WIDTH, "num_heads": HEADS, "head_dim": DIM, "bias": True, "dropout": 0.0}


def made(scorer: Any, role: str = "encoder", *, groups: int | None = None, **settings: Any) -> ScorerAttention:
    torch.manual_seed(0)
    mixer = ScorerAttention(scorer, **settings)
    mixer.num_kv_heads = groups
    mixer.setup(role=role, noise=Noise(), **SETTINGS)
    return mixer.double()


def by_hand(mixer: ScorerAttention, x: Tensor, read: Tensor, role: str) -> Tensor:
    """(L, d_model), pair by pair, one head at a time, of rows x (L, d_model) and what they read."""
    q, k, v = (linear(each).view(-1, HEADS, DIM) for linear, each in ((mixer.q, x), (mixer.k, read), (mixer.v, read)))
    heads = []
    for head in range(HEADS):
        rows = []
        for i in range(len(x)):
            keys = range(i + 1) if role == "decoder" else range(len(read))
            logits = []
            for j in keys:
                pair = (q[i].flatten(), k[j].flatten()) if mixer.joined else (q[i, head], k[j, head])
                if mixer.features == "pair":
                    logits.append(mixer.scorer(*pair).reshape(()))
                else:
                    features = pair[0] + pair[1] if mixer.features == "sum" else torch.cat(pair)
                    logits.append(mixer.scorer(features).reshape(()))
            weights = torch.stack(logits).softmax(0)
            rows.append(sum(weights[n] * v[j, head] for n, j in enumerate(keys)))
        heads.append(torch.stack(rows))
    return mixer.o(torch.cat(heads, -1))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("scorer", "form"),
    [
        (own.CustomAttention, ("sum", False)),
        (own.CustomAttention(DIM), ("sum", False)),
        (own.CustomAttention(HEADS * DIM), ("sum", True)),
        (own.CustomAttention(2 * DIM), ("both", False)),
        (own.CustomAttention(2 * HEADS * DIM), ("both", True)),
        (own.Pair, ("pair", False)),
        (own.Pair(DIM, 3), ("pair", False)),
    ],
)
def test_the_features_are_those_of_its_width(scorer: Any, form: tuple[str, bool], role: str) -> None:
    mixer, x, memory = made(scorer, role).eval(), draw(1, 6, WIDTH), source(role, rows=1)
    assert (mixer.features, mixer.joined) == form
    read = x[0] if memory is None else memory.hidden[0]
    same(run(mixer, x, row(6), memory)[0], by_hand(mixer, x[0], read, role))


def test_of_equal_widths_the_first_counts() -> None:
    mixer = ScorerAttention(own.CustomAttention(8))
    mixer.setup(role="encoder", noise=Noise(), **{**SETTINGS, "num_heads": 2, "head_dim": 4})
    assert (mixer.features, mixer.joined) == ("sum", True)


def test_the_printed_scorer_is_the_mlp_of_additive_attention() -> None:
    """Where its first layer passes q + k on."""
    mixer, mlp = made(own.CustomAttention), Additive(scorer="mlp")
    mlp.setup(role="encoder", noise=Noise(), **SETTINGS)
    mlp.double().load_state_dict(mixer.state_dict(), strict=False)
    first, last = mixer.scorer.attention[0], mixer.scorer.attention[2]
    with torch.no_grad():
        first.weight.copy_(torch.eye(DIM))
        first.bias.zero_()
        mlp.scorer.copy_(last.weight.expand(HEADS, -1))
        assert mlp.offset is not None
        mlp.offset.fill_(last.bias.item())
    same(run(mixer, draw(2, 6, WIDTH), row(6)), run(mlp, draw(2, 6, WIDTH), row(6)))


def test_its_weights_are_kept_and_each_mixer_has_its_own() -> None:
    given = own.CustomAttention(DIM)
    before = copy.deepcopy(given.state_dict())
    one, two = ScorerAttention(given), ScorerAttention(given)
    for mixer in (one, two):
        mixer.setup(role="encoder", noise=Noise(), **SETTINGS)
        old = mixer.q.weight.clone()
        mixer.apply(initialize)
        assert not torch.equal(mixer.q.weight, old), "its projections are initialised"
        for name, tensor in mixer.scorer.state_dict().items():
            assert torch.equal(tensor, before[name]), name
    with torch.no_grad():
        one.scorer.attention[0].weight.zero_()
    assert torch.equal(two.scorer.attention[0].weight, before["attention.0.weight"])
    assert torch.equal(given.attention[0].weight, before["attention.0.weight"])


def test_int8_leaves_it_in_floating_point_numbers() -> None:
    mixer = made(own.CustomAttention).float()
    quantize_linears(mixer)
    assert isinstance(mixer.q, Int8Linear) and type(mixer.scorer.attention[0]) is nn.Linear
    with torch.no_grad():
        assert run(mixer, draw(2, 6, WIDTH).float(), row(6)).isfinite().all()


def test_its_dropout_draws_the_networks_bits() -> None:
    assert isinstance(made(own.Pair).scorer.drop, Dropout)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (own.CustomAttention(7), "must have 5 inputs .*, 20 .*, 10 or 40 .*, but has 7. Make it so wide"),
        (own.Wide, "must need at most 2 positional arguments, .* but `Wide` needs a, b, c. Give an instance"),
        (nn.MultiheadAttention(4, 2), r"`MultiheadAttention` has \(query, key, value\)"),
        ("scorer", "must be a torch.nn.Module or its class"),
        (int, "must be a torch.nn.Module or its class"),
    ],
)
def test_what_is_no_scorer_is_refused(wrong: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        made(wrong)
    assert "\n" not in str(caught.value)


def test_what_it_gives_is_checked() -> None:
    with pytest.raises(AttentionError, match=r"one number a pair, \(2, 4, 6, 6\) or .*, but gave \(2, 4, 6, 6, 2\)"):
        run(made(nn.Linear(DIM, 2)), draw(2, 6, WIDTH), row(6))
    with pytest.raises(ConfigError, match="must have no settings"):
        ScorerAttention(own.CustomAttention(DIM), hidden=3)
    with pytest.raises(ConfigError, match="cannot be made with"):
        made(own.CustomAttention, hidden="x")


def test_its_spec_is_the_name_of_its_class_with_the_widths() -> None:
    name = "own_attentions:CustomAttention"
    assert ScorerAttention(own.CustomAttention).spec == name
    assert ScorerAttention(own.CustomAttention, hidden=20).spec == {name: {"hidden": 20}}
    assert made(own.CustomAttention(20)).spec == {name: {"hidden": 20}}
    assert made(own.Pair(5, 3)).spec == {"own_attentions:Pair": {"input_dim": 5, "hidden_dim": 3}}
    assert ScorerAttention(nn.Linear(DIM, 1)).spec == {
        "torch.nn.modules.linear:Linear": {"in_features": DIM, "out_features": 1}
    }
    other = own.CustomAttention(20)
    other.attention[2] = nn.Linear(20, 1, bias=False)  # no longer what its class makes
    assert ScorerAttention(other).spec is None
    changed = own.Pair(5, 3)
    changed.drop.p = 0.5
    assert ScorerAttention(changed).spec is None
