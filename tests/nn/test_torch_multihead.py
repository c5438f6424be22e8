"""`torch.nn.MultiheadAttention` as a mixer, beside its own forward."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from nn.toy_mixers import ROLES, draw, row, same
from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.errors import ConfigError
from antiphon.nn import Memory, TorchAttention
from antiphon.nn.mixers import torch_multihead
from antiphon.nn.noise import Noise, number_sites

WIDTH, HEADS = 12, 4
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "without biases, rows first": {"bias": False, "batch_first": True},
    "more keys": {"add_bias_kv": True, "add_zero_attn": True},
}


def module(**settings: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    return nn.MultiheadAttention(WIDTH, HEADS, **settings).double()


def made(
    given: nn.MultiheadAttention | None, role: str, *, width: int | None = None, **settings: Any
) -> TorchAttention:
    mixer = TorchAttention(given, **settings)
    mixer.memory_width = width
    mixer.setup(d_model=WIDTH, num_heads=HEADS, head_dim=3, role=role, bias=True, dropout=0.0, noise=Noise())
    number_sites(mixer)
    return mixer.double()


def theirs(given: nn.MultiheadAttention, x: Tensor, read: Tensor, **masks: Any) -> Tensor:
    def turned(each: Tensor) -> Tensor:
        return each if given.batch_first else each.transpose(0, 1)

    return turned(given(turned(x), turned(read), turned(read), need_weights=False, **masks)[0])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_the_module_does(kind: str, role: str) -> None:
    given, x = module(**KINDS[kind]), draw(2, 6, WIDTH)
    width = 10 if role == "cross" else None
    if width is not None:
        given = module(**KINDS[kind], kdim=width, vdim=width)
    mixer = made(given, role, width=width)
    tokens = Tokens(torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, -1, -1]]))
    if width is not None:
        memory = Memory(draw(2, 5, width, seed=1), Tokens(torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, -1, -1]])))
        found = mixer(x, tokens, mixer.begin(2, 0, memory))[0]
        wanted = theirs(given, x, memory.hidden, key_padding_mask=~memory.tokens.valid)
    else:
        later = torch.ones(6, 6, dtype=torch.bool).triu(1) if role == "decoder" else None
        found, wanted = mixer(x, tokens, None)[0], theirs(given, x, x, key_padding_mask=~tokens.valid, attn_mask=later)
    same(found[tokens.valid], wanted[tokens.valid])


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_the_whole_row(kind: str) -> None:
    mixer, x = made(module(**KINDS[kind]), "decoder"), draw(2, 6, WIDTH)
    state, parts = mixer.begin(2, 6), []
    for start, end in ((0, 3), (3, 4), (4, 6)):
        parts.append(mixer(x[:, start:end], Tokens(torch.arange(start, end)[None]), state)[0])
    same(torch.cat(parts, 1), mixer(x, row(6), None)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_without_keys_is_finite_and_has_no_gradient(kind: str) -> None:
    mixer, x = made(module(**KINDS[kind]), "cross"), draw(2, 4, WIDTH).requires_grad_()
    hidden = draw(2, 3, WIDTH, seed=1).requires_grad_()
    memory = Memory(hidden, Tokens(torch.tensor([[-1, -1, -1], [0, 1, -1]])))
    out = mixer(x, row(4), mixer.begin(2, 0, memory))[0]
    gradients = torch.autograd.grad(out.square().sum(), [x, hidden])
    assert out.isfinite().all() and all(each.isfinite().all() for each in gradients)
    assert not gradients[1][0].any()
    if kind != "more keys":
        assert not out[0].any() and not gradients[0][0].any()


@pytest.mark.parametrize("kind", KINDS)
def test_its_weights_are_recorded_without_changing_the_output(kind: str) -> None:
    mixer, x = made(module(**KINDS[kind]), "decoder"), draw(2, 6, WIDTH)
    maps: dict[object, list[Tensor]] = {}
    out = mixer(x, Tokens(torch.arange(6)[None], maps=maps), None)[0]
    same(out, mixer(x, row(6), None)[0])
    (weights,) = maps[mixer]
    assert weights.shape == (2, HEADS, 6, 6) and not weights.triu(1).any()
    total = weights.sum(-1)
    assert bool((total < 1).all()) if kind == "more keys" else torch.allclose(total, torch.ones_like(total))


def test_its_dropout_is_a_function_of_the_step() -> None:
    mixer, x = made(module(dropout=0.5), "encoder").train(), draw(2, 6, WIDTH)
    outs = []
    for step in (1, 1, 2):
        mixer.drop.noise.set(seed=3, step=step, micro_batch=0)
        torch.rand(1)  # PyTorch's generator has no say
        before = torch.get_rng_state()
        outs.append(mixer(x, row(6), None)[0])
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], outs[2])
    assert torch.equal(mixer.eval()(x, row(6), None)[0], mixer(x, row(6), None)[0])


def test_its_weights_are_a_copy() -> None:
    given = module()
    before = copy.deepcopy(given.state_dict())
    mixer = made(given, "encoder")
    with torch.no_grad():
        mixer.multihead.in_proj_weight.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in given.state_dict().items())


def test_decoding_says_once_that_it_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_multihead, "_warned", set())
    mixer = made(module(), "decoder")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixer(draw(1, 3, WIDTH), row(3), None)
    with pytest.warns(UserWarning, match=r"has no cache: .* `antiphon.from_torch`"):
        mixer.begin(1, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixer.begin(1, 4)


@pytest.mark.parametrize(
    ("given", "role", "words"),
    [
        (nn.MultiheadAttention(WIDTH, 2), "encoder", "`num_heads` .* in the role encoder must be 4, .* but is 2"),
        (nn.MultiheadAttention(16, 4), "cross", "`embed_dim` .* must be 12, .* but is 16"),
        (nn.MultiheadAttention(WIDTH, 4, kdim=10), "cross", "`kdim` .* must be 12, .* but is 10"),
        (nn.MultiheadAttention(WIDTH, 4, vdim=10), "decoder", "`vdim` .* must be 12, .* but is 10"),
        (nn.Linear(2, 2), "encoder", "must be a torch.nn.MultiheadAttention, but is Linear"),
    ],
)
def test_what_does_not_fit_is_refused(given: Any, role: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made(given, role)


def test_its_spec_are_the_settings_that_differ() -> None:
    class Mine(nn.MultiheadAttention):
        """May have any forward."""

    assert TorchAttention(module()).spec == TorchAttention().spec == "torch_multihead"
    spec = {"torch_multihead": {"bias": False, "dropout": 0.1, "add_bias_kv": True, "add_zero_attn": True}}
    given = module(bias=False, dropout=0.1, add_bias_kv=True, add_zero_attn=True)
    assert TorchAttention(given).spec == spec == TorchAttention(**spec["torch_multihead"]).spec
    assert TorchAttention(Mine(WIDTH, HEADS)).spec is None
