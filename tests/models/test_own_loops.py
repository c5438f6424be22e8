"""A network that is made by hand in a training loop as PyTorch's tutorials have it: dropout, optimizers, autocast,
compiling, saving."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from models.hand_made import by_hand, one_batch, tokenizer, train
from torch import Tensor, nn
from torch.nn import functional

import antiphon
from antiphon.generation.model import Model
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Shape
from antiphon.nn.loss import CrossEntropy

ALL_DROPOUT = Shape(
    d_model=16, num_heads=2, ffn_dim=32, dropout=0.2, attention_dropout=0.2, activation_dropout=0.2, layer_drop=0.1
)


def losses(network: EncoderDecoder, count: int = 4) -> list[float]:
    batch = one_batch()
    return [float(network(batch).detach()) for _ in range(count)]


@pytest.mark.parametrize("shape", [None, ALL_DROPOUT])
def test_dropout_differs_from_step_to_step_and_is_repeated_by_the_seed(shape: Shape | None) -> None:
    network = by_hand(dropout=0.3, shape=shape)
    torch.manual_seed(4)
    first = losses(network)
    assert len(set(first)) == 4
    torch.manual_seed(4)
    assert losses(network) == first
    torch.manual_seed(5)
    assert not set(losses(network)) & set(first)
    network.eval()
    assert len(set(losses(network))) == 1


def test_an_own_loop_goes_on_from_a_saved_state_of_the_generator() -> None:
    network = by_hand(dropout=0.3)
    torch.manual_seed(4)
    losses(network, 2)
    state = torch.get_rng_state()
    after = losses(network, 3)
    torch.set_rng_state(state)
    assert losses(network, 3) == after


def test_bits_that_are_chosen_hold_for_one_forward() -> None:
    network = by_hand(dropout=0.3)
    network.noise.set(seed=1, step=2, micro_batch=3)
    chosen, drawn = losses(network, 2)
    assert chosen != drawn
    network.noise.set(seed=1, step=2, micro_batch=3)
    assert losses(network, 1) == [chosen]


@pytest.mark.parametrize("checkpoint", [False, True])
def test_layers_computed_again_draw_the_same_bits_in_an_own_loop(checkpoint: bool) -> None:
    network, batch, found = by_hand(shape=ALL_DROPOUT).double(), one_batch(), []
    for on in (False, checkpoint):
        network.checkpoint_activations(on)
        torch.manual_seed(6)
        found.append(torch.autograd.grad(network(batch), list(network.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_two_networks_draw_bits_of_their_own() -> None:
    one, other = by_hand(dropout=0.3, seed=1), by_hand(dropout=0.3, seed=1)
    assert one.noise is not other.noise and one.encoder.noise is not other.encoder.noise
    torch.manual_seed(4)
    assert losses(one, 1) != losses(other, 1)


def test_after_antiphon_train_an_own_loop_draws_new_bits(tmp_path: Path) -> None:
    recipe = {
        "output": str(tmp_path / "run"),
        "data": {"train": [[f"word {i}", f"wort {i}"] for i in range(20)]},
        "tokenizer": {"kind": "bytes"},
        "model": {"preset": "tiny", "d_model": 16, "num_heads": 2, "ffn_dim": 24, "dropout": 0.3},
        "training": {"max_steps": 2, "batch_tokens": 512},
    }
    run = antiphon.train(recipe, quiet=True, device="cpu")
    network = run.model.network.train()
    batch = next(iter(antiphon.batches([("word 3", "wort 3")], run.model)))
    found = [float(network(batch).detach()) for _ in range(3)]
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    "kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.NAdam]
)  # fmt: skip
def test_torchs_optimizers_and_schedulers_make_it_learn(kind: Any) -> None:
    network, batch = by_hand(dropout=0.1), one_batch()
    lr = 0.5 if kind is torch.optim.SGD else 1e-2
    optimizer = kind(network.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=15)
    first = float(network.eval()(batch).detach())
    network.train()
    for _ in range(15):
        optimizer.zero_grad()
        network(batch).backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), 1.0, error_if_nonfinite=True)
        assert norm > 0
        optimizer.step()
        scheduler.step()
    assert float(network.eval()(batch).detach()) < first - 0.3


def test_every_parameter_gets_a_gradient() -> None:
    network = by_hand(tied=False, learned_output_bias=True)
    network(one_batch()).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_gradients_of_parts_of_a_batch_add_up() -> None:
    network, batch = by_hand().double(), one_batch()
    network(batch).backward()
    once = [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
    for _ in range(2):
        network(batch).backward()
    for weight, one in zip(network.parameters(), once, strict=True):
        torch.testing.assert_close(weight.grad, 3 * one)


@pytest.mark.parametrize("criterion", [None, functional.cross_entropy])
def test_autocast_and_a_scaler(criterion: Any) -> None:
    network, batch = by_hand(), one_batch()
    plain = float(network(batch, criterion).detach())
    optimizer, scaler = torch.optim.Adam(network.parameters(), lr=1e-2), torch.amp.GradScaler("cpu", init_scale=1024.0)
    found = []
    for _ in range(10):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(batch, criterion)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0, error_if_nonfinite=True)
        scaler.step(optimizer)
        scaler.update()
        found.append(float(loss.detach()))
    assert found[0] == pytest.approx(plain, rel=0.02)
    assert found[-1] < found[0] - 0.3
    assert all(weight.dtype == torch.float32 for weight in network.parameters())


def test_a_scaled_loss_has_scaled_gradients() -> None:
    network, batch = by_hand().double(), one_batch()
    weights = list(network.parameters())
    one = torch.autograd.grad(network(batch), weights)
    scaled = torch.autograd.grad(network(batch) * 1024, weights)
    for plain, large in zip(one, scaled, strict=True):
        torch.testing.assert_close(large, plain * 1024)


@pytest.fixture(scope="module")
def compiler() -> Iterator[None]:
    """What is compiled is shared by the tests that ask for it: networks of one shape have the same code."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_torch_compile(dropout: float) -> None:
    network, batch = by_hand(["full"], dropout=dropout), one_batch()
    compiled = torch.compile(network, backend="eager")
    torch.manual_seed(2)
    plain = [float(network(batch).detach()) for _ in range(3)]
    torch.manual_seed(2)
    assert [float(compiled(batch).detach()) for _ in range(3)] == pytest.approx(plain, abs=1e-5)
    with torch._dynamo.config.patch(error_on_recompile=True):
        optimizer = torch.optim.Adam(compiled.parameters(), lr=1e-2)
        for _ in range(4):
            optimizer.zero_grad()
            compiled(batch).backward()
            optimizer.step()
    assert Model(compiled, tokenizer()).network is network


@pytest.mark.parametrize("settings", [{}, {"tied": False, "learned_output_bias": True}, {"attentions": ["relative", {"window": 4}]}])  # fmt: skip  # noqa: E501
def test_a_state_dict_goes_back_into_the_same_parts(tmp_path: Path, settings: dict[str, Any]) -> None:
    network, batch = by_hand(dropout=0.1, **settings), one_batch()
    train(network, batch)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    other = by_hand(dropout=0.1, seed=9, **settings)
    assert float(other.eval()(batch)) != float(network.eval()(batch))
    found = other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert not found.missing_keys and not found.unexpected_keys
    assert torch.equal(other.logits(batch), network.logits(batch))
    assert (other.source.table is other.target.table) == (network.source.table is network.target.table)  # type: ignore[union-attr]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = [Model(each, tokenizer()).generate(["in 3 hours"], max_new_tokens=8)[0].text for each in (network, other)]  # fmt: skip  # noqa: E501
    assert answers[0] == answers[1]


def test_an_optimizers_state_goes_back_too(tmp_path: Path) -> None:
    batch, found = one_batch(), []

    def step(network: EncoderDecoder, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = network(batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    network = by_hand()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(2):
        step(network, optimizer)
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "checkpoint.pt")
    found.append([step(network, optimizer) for _ in range(3)])
    network = by_hand(seed=8)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    found.append([step(network, optimizer) for _ in range(3)])
    assert found[0] == found[1]


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    distributed = torch.distributed
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_distributed_data_parallel(tmp_path: Path) -> None:
    network, batch = by_hand(), one_batch()
    expected = float(network(batch).detach())
    wrapped = nn.parallel.DistributedDataParallel(network)
    assert float(wrapped(batch).detach()) == expected
    found = train(wrapped, batch, steps=5)
    assert found[-1] < found[0]
    assert train(by_hand(), batch, steps=5) == pytest.approx(found, abs=1e-5)
    model = Model(wrapped, tokenizer())
    assert model.network is network
    model.save(tmp_path / "model")
    text = model.generate(["in 3 hours"], max_new_tokens=8)[0].text
    assert antiphon.load(tmp_path / "model", device="cpu").generate(["in 3 hours"], max_new_tokens=8)[0].text == text


def test_the_sum_for_own_counts_is_there_too() -> None:
    network, batch = by_hand().double(), one_batch()
    found = network(batch, CrossEntropy())
    assert found.labels == int(batch.label_mask.sum())
    torch.testing.assert_close(found.objective / found.labels, network(batch))
