"""Adapters that peft made on a transformers model are read by `load(adapter=...)`: equal logits in every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from counts import count
from parity import reference
from parity.test_families import our_logits, rows, their_logits

import antiphon
from antiphon.errors import ModelError

peft: Any = pytest.importorskip("peft")


def adapted(model: Any, folder: Path, seed: int, **settings: Any) -> Any:
    """`model` with an adapter of random weights, which is written to `folder`."""
    config = peft.LoraConfig(**{"r": 3, "lora_alpha": 5, "target_modules": "all-linear", **settings})
    made = peft.get_peft_model(model, config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if ".lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    made.save_pretrained(folder)
    return made


SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True, "target_modules": r".*\.(q|v|q_proj|v_proj|wo|fc2|down_proj)"},
    "norms": {"use_rslora": True, "modules_to_save": ["final_layer_norm", "layer_norm", "pre_self_attn_layernorm"]},
}
# The next kinds in turn for each family: families that are alike have all of them.
CASES = [
    (family, list(SETTINGS)[(number + i) % len(SETTINGS)])
    for number, family in enumerate(reference.FAMILIES)
    for i in range(count("adapter_kinds"))
]


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_an_adapter_of_peft_on_transformers_is_read(family: str, kind: str, tmp_path: Path) -> None:
    settings = SETTINGS[kind]
    base, adapter, seed = tmp_path / "base", tmp_path / "adapter", 3
    model = reference.make(reference.FAMILIES[family], seed, base)
    sources, targets = rows(model, seed)
    before = their_logits(model, sources, targets)
    wanted = their_logits(adapted(model, adapter, seed, **settings), sources, targets)
    found = our_logits(antiphon.load(base, adapter=adapter), sources, targets)
    size = max(float(row.abs().max()) for row in wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-3 * size)  # float32, weights of a size
    assert max(float((a - b).abs().max()) for a, b in zip(before, wanted, strict=True)) > 0.05 * size
    again = antiphon.load(antiphon.load(base, adapter=adapter).save(tmp_path / "merged"))
    torch.testing.assert_close(our_logits(again, sources, targets), found)


def test_an_adapter_loads_onto_a_saved_copy_of_its_base(tmp_path: Path) -> None:
    model = reference.make(reference.bart, 1, tmp_path / "base")
    sources, targets = rows(model, 1)
    wanted = their_logits(adapted(model, tmp_path / "adapter", 1, target_modules=["fc1"]), sources, targets)
    ours = antiphon.load(tmp_path / "base").save(tmp_path / "ours")
    found = our_logits(antiphon.load(ours, adapter=tmp_path / "adapter"), sources, targets)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)


def test_what_cannot_be_merged_is_one_line_with_the_reason(tmp_path: Path) -> None:
    models: Any = (reference.make(reference.t5, seed, tmp_path / "t5") for seed in range(20))
    model = next(model for model in models if model.lm_head.weight is model.shared.weight)
    adapted(model, tmp_path / "head", 0, target_modules=["q"], modules_to_save=["lm_head"])
    with pytest.raises(ModelError, match=r"trains `lm_head` apart, but in the base it is one table with other emb"):
        antiphon.load(tmp_path / "t5", adapter=tmp_path / "head")
    other = reference.make(reference.marian, 0, tmp_path / "marian")
    adapted(other, tmp_path / "theirs", 0, target_modules=["q_proj"])
    with pytest.raises(ModelError, match=r"has no such layer there. It is of the family t5, .*SelfAttention.q`. Give"):
        antiphon.load(tmp_path / "t5", adapter=tmp_path / "theirs")
