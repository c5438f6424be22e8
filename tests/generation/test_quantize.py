"""Weights in eight bits: nearly the same answers, the same in any batch, and what such a model cannot do says so."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from generation.test_model import model
from runtime.test_stepper import network_of
from search.toys import SPECIAL, source_of

from antiphon import load
from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError, ModelError
from antiphon.generation.ensemble import Ensemble
from antiphon.generation.quantize import check_quantize, quantize
from antiphon.runtime.inference import as_rows, evaluating
from antiphon.runtime.quantized import Int8Linear, is_quantized
from antiphon.search.engine import answer, forced_scores

PAIRS = [(source_of(random.Random(i)), [5 + i, 9, 7, SPECIAL.end]) for i in range(12)]


@pytest.mark.parametrize("name", ["full", "paper", "rotary", "learned", "grouped", "additive", "shaw", "linear"])
def test_scores_are_nearly_those_of_whole_weights(name: str) -> None:
    """Within a twentieth of their mean: eight bits of a weight are good to 1/254 of its row's largest one."""
    whole = torch.tensor(forced_scores(network_of(name), PAIRS, SPECIAL))
    network = network_of(name)
    quantize(network)
    assert is_quantized(network) and sum(isinstance(part, Int8Linear) for part in network.modules()) > 10
    found = torch.tensor(forced_scores(network, PAIRS, SPECIAL))
    assert 0 < float((found - whole).abs().max()) < 0.05 * float(whole.abs().mean())


@pytest.mark.parametrize("settings", [{"beam_size": 1}, {"beam_size": 4, "n_best": 2}], ids=str)
@pytest.mark.parametrize("name", ["rotary", "alternating"])
def test_an_answer_is_the_same_alone_and_in_a_batch(name: str, settings: dict[str, object]) -> None:
    network, config = network_of(name, seed=4), GenerationConfig(max_new_tokens=10, **settings)
    quantize(network)
    sources = [source for source, _ in PAIRS]
    together = answer(network, sources, config, SPECIAL)
    for source, mine in zip(sources, together, strict=True):
        alone = answer(network, [source], config, SPECIAL)[0]
        assert [each.ids for each in alone] == [each.ids for each in mine]
        assert [each.score for each in alone] == pytest.approx([each.score for each in mine], abs=1e-3)


def test_a_folder_is_loaded_so_and_the_model_answers_scores_and_is_looked_at(tmp_path: Path) -> None:
    texts = ["in 3 hours", "in 4 hours", ""]
    folder = model().save(tmp_path / "model")
    whole, found = load(folder, device="cpu"), load(folder, quantize="int8")
    assert is_quantized(found.network) and not is_quantized(whole.network)
    assert len(found.generate(texts, beam_size=3)) == 3 and found.generate(texts)[2].text == ""
    assert "".join(found.stream(texts[0])) == found.generate(texts[0])[0].text
    pairs = texts[:2], ["in 3 Stunden", "x"]
    assert found.score(*pairs) == pytest.approx(whole.score(*pairs), rel=0.02)
    said = found.generate(texts[0])[0].text
    assert found.attention(texts[0], said).cross.shape == whole.attention(texts[0], said).cross.shape
    both = load([folder, folder], quantize="int8")
    assert isinstance(both.network, Ensemble) and all(is_quantized(part) for part in both.network.parts)
    assert both.generate(texts[0])[0].text == found.generate(texts[0])[0].text


def test_what_needs_the_weights_says_so(tmp_path: Path) -> None:
    found = load(model().save(tmp_path / "model"), quantize="int8")
    for format in ("antiphon", "huggingface"):
        with pytest.raises(
            ModelError, match=r"saving a model needs the model's own weights, but it was quantized. Load"
        ):
            found.save(tmp_path / "other", format=format)
    assert not (tmp_path / "other").exists()
    x = torch.randn(2, 16, requires_grad=True)
    layer = next(part for part in found.network.modules() if isinstance(part, Int8Linear) and part.in_features == 16)
    with pytest.raises(ModelError, match="a quantized model answers and is not trained"):
        layer(x)
    with pytest.raises(ConfigError, match=r"left out on the device cuda: int8 is computed by a CPU"):
        check_quantize("int8", device=torch.device("cuda"), dtype=None)


@pytest.mark.parametrize("place", ["hook", "pre-hook"])
def test_hooks_of_a_layer_are_asked_and_see_what_it_gives(place: str) -> None:
    """Also where its products would be joined with others, or with the activation behind them."""
    network = network_of("full", seed=1)
    quantize(network)
    ids, tokens = as_rows([[5, 6, 7, SPECIAL.end]], network.device)
    layer, seen = network.encoder.layers[0], []
    with evaluating(network):
        plain = network.encode(ids, tokens).hidden
        if place == "hook":
            hook = layer.ffn.up.register_forward_hook(lambda _, __, out: seen.append(float(out.min())))
        else:
            hook = layer.mixer.q.register_forward_pre_hook(lambda _, given: (given[0] * 0,))
        found = network.encode(ids, tokens).hidden
        hook.remove()
        again = network.encode(ids, tokens).hidden
    assert torch.allclose(again, plain, rtol=0, atol=1e-6)
    if place == "hook":
        assert len(seen) == 1 and seen[0] < 0 and torch.allclose(found, plain, rtol=0, atol=1e-6)
    else:
        assert not torch.allclose(found, plain, atol=1e-3)
