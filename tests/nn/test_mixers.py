"""The catalogue of mixers, each computed twice: by its equation in plain loops, by chunks and steps; its gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from nn.plain_mixers import plain
from nn.toy_mixers import HEADS, RECURRENT, ROLES, WIDTH, draw, each, each_recurrent, make, row, run, same, source
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.errors import AttentionError, ConfigError
from antiphon.nn.mixers import Additive, Delta, Differential, Memory, Sigmoid, WeightMixer
from antiphon.nn.noise import Noise


@pytest.mark.parametrize("groups", [2, None])
@pytest.mark.parametrize("role", ROLES)
@each
def test_equals_the_equation(name: str, role: str, groups: int | None) -> None:
    mixer, x, memory = make(name, role, groups=groups), draw(1, 6, WIDTH), source(role, rows=1)
    wanted = plain(mixer, x[0], None if memory is None else memory.hidden[0])
    same(run(mixer, x, row(6), memory)[0], wanted)


@pytest.mark.parametrize("cuts", [[1] * 11, [4, 4, 3], [6, 1, 3, 1], [10, 1], [11]])
@each
def test_steps_and_chunks_are_the_whole_row(name: str, cuts: list[int]) -> None:
    mixer, x = make(name, "decoder"), draw(3, 11, WIDTH)
    state, parts, start = mixer.begin(3, 11), [], 0
    for length in cuts:
        part, state = mixer(x[:, start : start + length], Tokens(torch.arange(start, start + length)[None]), state)
        parts.append(part)
        start += length
    same(torch.cat(parts, 1), run(mixer, x, row(11)), most=1e-10)


@each_recurrent
def test_no_size_of_chunk_matters(name: str) -> None:
    x, rows = draw(2, 70, WIDTH), []
    for chunk in (1, 7, 32, 64):
        rows.append(run(make(name, "decoder", chunk=chunk), x, row(70)))
        same(rows[-1], rows[0], most=1e-10)


@each
def test_queries_of_a_memory_are_independent_and_folded(name: str) -> None:
    mixer, x, memory = make(name, "cross"), draw(2, 6, WIDTH), source("cross")
    assert memory is not None
    whole, state = run(mixer, x, row(6), memory), mixer.begin(2, 0, memory)
    for i in range(6):
        same(mixer(x[:, i : i + 1], Tokens(torch.tensor([[i]])), state)[0], whole[:, i : i + 1])
    folded = Tokens(torch.tensor([[0, 1, 0, 1, 0, 1]]))  # three hypotheses of two tokens each
    same(mixer(x, folded, state)[0], whole)


@pytest.mark.parametrize("role", ROLES)
@each
def test_gradients_are_those_of_finite_differences(name: str, role: str) -> None:
    mixer, x, memory = make(name, role), draw(2, 4, WIDTH).requires_grad_(), source(role, length=3)
    tokens = Tokens(torch.tensor([[0, 1, 2, 3], [0, 1, 2, -1]]))
    hidden = None if memory is None else memory.hidden.requires_grad_()

    def whole(*inputs: Tensor) -> Tensor:
        own = None if memory is None else Memory(inputs[1], memory.tokens)
        return run(mixer, inputs[0], tokens, own)[tokens.valid]

    assert torch.autograd.gradcheck(whole, (x,) if hidden is None else (x, hidden), fast_mode=True)
    out = whole(x) if hidden is None else whole(x, hidden)
    for gradient in torch.autograd.grad(out.square().sum(), list(mixer.parameters())):
        assert gradient.isfinite().all() and gradient.any()


@each
def test_no_later_token_has_an_influence(name: str) -> None:
    mixer, x = make(name, "decoder"), draw(1, 6, WIDTH).requires_grad_()
    out = run(mixer, x, row(6))
    for i in range(6):
        (gradient,) = torch.autograd.grad(out[0, i].sum(), x, retain_graph=True)
        assert not gradient[0, i + 1 :].any() and gradient[0, : i + 1].any(-1).all()


@each
def test_a_query_without_keys_reads_zero(name: str) -> None:
    mixer, nobody = make(name, "cross"), Tokens(torch.full((2, 3), -1))
    x, hidden = draw(2, 4, WIDTH).requires_grad_(), torch.zeros(2, 3, WIDTH, dtype=torch.float64, requires_grad=True)
    out = run(mixer, x, row(4), Memory(hidden, nobody))
    assert torch.equal(out, mixer.o.bias.expand_as(out))
    assert not any(gradient.any() for gradient in torch.autograd.grad(out.sum(), [x, hidden]))


@each
def test_weights_are_recorded_by_those_that_have_any(name: str) -> None:
    mixer, memory = make(name, "cross"), source("cross")
    state = mixer.begin(2, 0, memory)
    state.record = []
    mixer(draw(2, 3, WIDTH), row(3), state)
    assert [tuple(weights.shape) for weights in state.record] == ([] if name in RECURRENT else [(2, HEADS, 3, 6)])


@pytest.mark.parametrize("name", ["sigmoid", "differential"])
def test_rotary_positions_tell_distances_and_nothing_else(name: str) -> None:
    mixer, x = make(name, "encoder", rotary=True), draw(2, 6, WIDTH)
    out = run(mixer, x, row(6))
    same(run(mixer, x, Tokens(torch.arange(6)[None] + 11)), out, most=1e-5)  # angles are float32
    assert not torch.allclose(run(mixer, x.flip(1), row(6)).flip(1), out)
    without = make(name, "encoder")
    assert torch.allclose(run(without, x.flip(1), row(6)).flip(1), run(without, x, row(6)))


@pytest.mark.parametrize("role", ROLES)
@each
def test_half_precision_is_near(name: str, role: str) -> None:
    mixer, x, memory = make(name, role).float(), draw(2, 9, WIDTH).float(), source(role)
    if memory is not None:
        memory.hidden = memory.hidden.float()
    wanted = run(mixer, x, row(9), memory)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run(mixer, x.requires_grad_(), row(9), memory)
    found.float().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert (found.float() - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_wrong_settings_are_named() -> None:
    for wrong in (
        lambda: Additive(scorer="mpl"),
        lambda: Sigmoid(bias=float("nan")),
        lambda: Differential(lambda_init=1),
    ):
        with pytest.raises(ValueError, match=r"^`(scorer|bias|lambda_init)` must be .*, but is "):
            wrong()
    narrow = Differential()
    with pytest.raises(ConfigError, match=r"`model.head_dim` must be a multiple of 2 .* but is 3"):
        narrow.setup(d_model=6, num_heads=2, head_dim=3, role="decoder", bias=True, dropout=0.0, noise=Noise())


def test_wrong_logits_are_named_with_both_shapes() -> None:
    class Short(WeightMixer):
        def logits(self, q: Tensor, k: Tensor) -> Tensor:
            return q.sum(-1)

    mixer = Short()
    mixer.setup(d_model=6, num_heads=2, head_dim=3, role="encoder", bias=True, dropout=0.0, noise=Noise())
    with pytest.raises(AttentionError, match=r"`logits` of `Short` in the role encoder .*\(1, 2, 4, 4\).*\(1, 2, 4\)"):
        mixer(torch.zeros(1, 4, 6), row(4), None)


def test_a_recurrence_refuses_a_prefix_that_is_read_both_ways() -> None:
    tokens = Tokens(torch.arange(4)[None], prefix=torch.tensor([[True, True, False, False]]))
    with pytest.raises(AttentionError, match="`LinearAttention` of the decoder reads from left to right"):
        make("linear", "decoder")(draw(1, 4, WIDTH), tokens, None)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_delta_in_bfloat16_is_that_of_exact_numbers(role: str, autocast: bool) -> None:
    """A norm follows what a row's first tokens read, q·k times a vector, and keeps no more of q·k than its sign."""
    for seed in range(20):
        torch.manual_seed(seed)
        mixer = Delta()
        mixer.setup(d_model=32, num_heads=4, head_dim=8, role=role, bias=True, dropout=0.0, noise=Noise())
        mixer, x = mixer.bfloat16(), torch.randn(2, 48, 32).bfloat16()
        exact = copy.deepcopy(mixer).double()
        if autocast:
            mixer, x = mixer.float(), x.float()
        with torch.no_grad(), torch.autocast("cpu", enabled=autocast):
            found = mixer(x, row(48), None)[0].double()
        with torch.no_grad():
            wanted = exact(x.double(), row(48), None)[0]
        assert (found - wanted).abs().max() < 0.012 * wanted.abs().max()
