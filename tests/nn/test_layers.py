"""Projections that are one product give what each layer gives alone, and so do their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from antiphon.nn.layers import project


def layers(*, bias: bool, frozen: bool = False) -> list[nn.Linear]:
    torch.manual_seed(0)
    made = [nn.Linear(6, width, bias=bias) for width in (6, 4, 2)]
    made[1].weight.requires_grad_(not frozen)
    return made


def products(x: Tensor, linears: list[nn.Linear]) -> int:
    """How many matrix products `project` takes."""
    with FlopCounterMode(display=False) as counted:
        project(x, linears)
    unit = 2 * x.shape[0] * x.shape[1] * 6 * 12
    assert counted.get_total_flops() == unit, "no more work than apart"
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        project(x, linears)
    return sum(event.count for event in seen.key_averages() if event.key in ("aten::mm", "aten::addmm"))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_joined_projections_and_their_gradients_are_those_of_each_layer(bias: bool, frozen: bool) -> None:
    linears = layers(bias=bias, frozen=frozen)
    x = torch.randn(3, 5, 6, requires_grad=True)
    learned = [x, *(weight for linear in linears for weight in linear.parameters() if weight.requires_grad)]
    found, alone = project(x, linears), [linear(x) for linear in linears]
    factors = [torch.randn_like(part) for part in alone]
    sums = [
        torch.stack([(part * f).sum() for part, f in zip(parts, factors, strict=True)]).sum()
        for parts in (found, alone)
    ]
    for part, other in zip(found, alone, strict=True):
        torch.testing.assert_close(part, other, atol=1e-6, rtol=1e-6)
    for got, wanted in zip(torch.autograd.grad(sums[0], learned), torch.autograd.grad(sums[1], learned), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_training_takes_one_product_and_a_step_of_decoding_joins_nothing() -> None:
    linears, x = layers(bias=True), torch.randn(3, 5, 6)
    assert products(x, linears) == 1
    with torch.no_grad():
        assert products(x, linears) == 3


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def test_a_layer_that_does_more_than_its_product_is_called() -> None:
    linears, x, seen = layers(bias=True), torch.randn(3, 5, 6), []
    handle = linears[2].register_forward_hook(lambda layer, args, out: seen.append(out.shape))
    project(x, linears)
    assert seen == [(3, 5, 2)]
    handle.remove()
    doubled = Doubled(6, 6)
    torch.testing.assert_close(project(x, [doubled, linears[0]])[0], doubled(x))
    linears[0].forward = lambda input: input  # type: ignore[method-assign]
    assert project(x, linears)[0] is x


def test_layers_of_which_one_has_no_bias_stay_apart() -> None:
    linears, x = [*layers(bias=True), nn.Linear(6, 6, bias=False)], torch.randn(3, 5, 6)
    for part, linear in zip(project(x, linears), linears, strict=True):
        assert torch.equal(part, linear(x))


def test_a_part_can_be_written_to_and_the_others_keep_their_values_and_gradients() -> None:
    linears, x = layers(bias=True), torch.randn(3, 5, 6)
    parts = project(x, linears)
    parts[0][0] = 7.0
    torch.testing.assert_close(parts[1], linears[1](x))
    (parts[0].sum() + parts[1].square().sum()).backward()
    got = [linears[0].weight.grad, linears[1].weight.grad]
    alone = linears[0](x)[1:].sum() + linears[1](x).square().sum()
    wanted = torch.autograd.grad(alone, [linears[0].weight, linears[1].weight])
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
