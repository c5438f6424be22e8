"""A plain function as an attention, beside softmax attention of the same weights."""

from __future__ import annotations

from typing import Any

import own_attentions as own
import pytest
import torch
from nn.toy_mixers import HEADS, ROLES, WIDTH, draw, row, run, same, source
from torch import nn

from antiphon.batch import Tokens
from antiphon.errors import AttentionError, ConfigError
from antiphon.nn import Attention, Full, FunctionAttention, Memory
from antiphon.nn.noise import Noise
from antiphon.registry import register, unregister

SETTINGS: dict[str, Any] = {"d_model": WIDTH, "num_heads": HEADS, "head_dim": 4, "bias": True, "dropout": 0.0}


def made(function: Any, role: str, *, groups: int | None = None, rotary: bool = False) -> FunctionAttention:
    torch.manual_seed(0)
    mixer = FunctionAttention(function)
    mixer.num_kv_heads, mixer.rotary_positions = groups, rotary
    mixer.setup(role=role, noise=Noise(), **SETTINGS)
    return mixer.double()


@pytest.mark.parametrize("function", [own.softmax, own.fused], ids=["softmax", "fused"])
@pytest.mark.parametrize(("groups", "rotary"), [(None, False), (2, True)])
@pytest.mark.parametrize("role", ROLES)
def test_softmax_by_hand_is_attention(role: str, groups: int | None, rotary: bool, function: Any) -> None:
    mixer = made(function, role, groups=groups, rotary=rotary)
    plain = Attention(Full(), num_kv_heads=groups, rotary=rotary)
    plain.setup(role=role, noise=Noise(), **SETTINGS)
    plain.double().load_state_dict(mixer.state_dict(), strict=False)
    x, memory = draw(2, 6, WIDTH), source(role)
    tokens = Tokens(torch.tensor([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, -1, -1]]))
    found, wanted = (run(each, x, tokens, memory)[tokens.valid] for each in (mixer, plain))
    same(found, wanted)


@pytest.mark.parametrize("function", [own.softmax, own.fused], ids=["softmax", "fused"])
def test_a_query_without_keys_reads_zero_and_has_no_gradient(function: Any) -> None:
    mixer, x = made(function, "cross"), draw(2, 4, WIDTH).requires_grad_()
    hidden = draw(2, 3, WIDTH, seed=1).requires_grad_()
    some = Tokens(torch.tensor([[-1, -1, -1], [0, 1, -1]]))
    out = run(mixer, x, row(4), Memory(hidden, some))
    assert torch.equal(out[0], mixer.o.bias.expand_as(out[0])) and out.isfinite().all()
    gradients = torch.autograd.grad(out.square().sum(), [x, hidden])
    for gradient in gradients:
        assert gradient.isfinite().all() and not gradient[0].any() and gradient[1].any()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (own.short, r"`short` in the role encoder must give \(B,H,Q,D\) = \(2, 4, 6, 4\).* but gave \(2, 4, 6\)"),
        (lambda q, k, v, mask: None, "but gave NoneType"),
        (lambda q, k, v, mask: q.long(), "but gave .* of torch.int64"),
    ],
)
def test_what_a_function_gives_is_checked(wrong: Any, words: str) -> None:
    with pytest.raises(AttentionError, match=words) as caught:
        run(made(wrong, "encoder"), draw(2, 6, WIDTH), row(6))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [lambda q, k: q, lambda: None, "softmax", 3, nn.Linear])
def test_what_is_no_function_of_four_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"must (take|be a function of) \(q, k, v, mask\), but"):
        FunctionAttention(wrong)


def test_the_mask_is_bool_and_broadcasts() -> None:
    seen = []

    def looks(q: Any, k: Any, v: Any, mask: Any) -> Any:
        seen.append((mask.dtype, mask.dim(), mask.shape[2:], k.shape == v.shape))
        return own.softmax(q, k, v, mask)

    mixer = made(looks, "decoder", groups=2)
    run(mixer, draw(2, 6, WIDTH), row(6))
    state = mixer.begin(2, 6)
    mixer(draw(2, 3, WIDTH), row(3), state)
    mixer(draw(2, 1, WIDTH), Tokens(torch.tensor([[3]])), state)
    assert seen == [(torch.bool, 4, shape, True) for shape in ((6, 6), (3, 3), (1, 4))]


def test_its_spec_is_its_name() -> None:
    def local(q: Any, k: Any, v: Any, mask: Any) -> Any:
        return own.softmax(q, k, v, mask)

    assert FunctionAttention(own.softmax).spec == "own_attentions:softmax"
    assert FunctionAttention(local).spec is None and FunctionAttention(lambda q, k, v, mask: q).spec is None
    register("attention", "by hand")(local)
    try:
        assert FunctionAttention(local).spec == "by hand"
    finally:
        unregister("attention", "by hand")


def test_what_a_function_raises_is_one_line_with_the_shapes() -> None:
    def added(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (q @ k.mT + mask[..., :2]).softmax(-1) @ v

    made = FunctionAttention(added)
    made.setup(d_model=8, num_heads=2, head_dim=4, role="encoder", bias=True, dropout=0.0, noise=Noise())
    with pytest.raises(AttentionError, match=r"`added` in the role encoder raised RuntimeError: .*mask \(1, 1, 5, 5\)"):
        made(torch.zeros(1, 5, 8), Tokens(torch.arange(5)[None]), None)
