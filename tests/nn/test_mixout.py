"""Mixout against its formula, and its reference weights under resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from training.runs import make_loop, same

from antiphon.errors import ModelError
from antiphon.models.folders.checkpoint import named_weights
from antiphon.nn.mixout import MixoutLinear, add_mixout, references
from antiphon.nn.noise import Noise, number_sites


def layer(p: float) -> tuple[MixoutLinear, nn.Linear]:
    plain, noise = nn.Linear(40, 30).double(), Noise()
    network = nn.Sequential(plain)
    add_mixout(network, p, noise)
    number_sites(network)
    made = network[0]
    assert isinstance(made, MixoutLinear)
    with torch.no_grad():
        made.weight.add_(torch.randn(30, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    return made, plain


@pytest.mark.parametrize("p", [0.25, 0.5, 0.75])
def test_is_the_papers_formula(p: float) -> None:
    made, _ = layer(p)
    u, w = made.reference, made.weight.detach()
    kept = (made.drop(torch.ones_like(w)) != 0).double()  # 1 - M
    wanted = ((1 - kept) * u + kept * w - p * u) / (1 - p)
    x = torch.eye(40, dtype=torch.float64)
    found = made(x) - made.bias
    torch.testing.assert_close(found.T, wanted, rtol=0, atol=1e-12)
    assert abs(float(kept.mean()) - (1 - p)) < 0.05
    mean = torch.zeros_like(w)
    for step in range(400):
        made.drop.noise.set(seed=0, step=step, micro_batch=0)
        mean += (made(x) - made.bias).T.detach() / 400
    assert float((mean - w).abs().mean()) < 0.15 * float((w - u).abs().mean() / (1 - p))


def test_evaluation_and_names_are_those_of_the_plain_layer() -> None:
    made, plain = layer(0.5)
    x = torch.randn(3, 40, dtype=torch.float64)
    assert torch.equal(made.eval()(x), plain(x))
    assert sorted(made.state_dict()) == ["bias", "weight"]
    assert made.weight is plain.weight


def test_the_reference_survives_resume_and_damage_is_found(tmp_path: Path) -> None:
    whole = make_loop(tmp_path / "whole", mixout=0.3, max_steps=12)
    began = {name: tensor.clone() for name, tensor in references(whole.network).items()}
    names = set(named_weights(whole.network))
    assert began and names == set(named_weights(make_loop(tmp_path / "other").network))
    whole.run()
    for end in (5, 6, 12):
        part = make_loop(tmp_path / "parts", mixout=0.3, max_steps=end)
        with torch.no_grad():  # as if the weights that it began with could not be made again
            for reference in references(part.network).values():
                if part.parts.store.newest() is not None:
                    reference.zero_()
        part.resume()
        part.run()
    assert same(whole, part)
    assert all(torch.equal(tensor, began[name]) for name, tensor in references(part.network).items())
    file = tmp_path / "parts" / "start.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    for broken in (bytes(content), b"", None):
        file.unlink() if broken is None else file.write_bytes(broken)
        with pytest.raises(ModelError, match="must hold the initial weights of the run"):
            make_loop(tmp_path / "parts", mixout=0.3, max_steps=14).resume()
