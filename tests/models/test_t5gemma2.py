"""What a T5Gemma 2's config.json becomes, and back; and which one is refused, by which line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from models.test_hub import logits, parts_of

from antiphon.batch import Tokens
from antiphon.errors import ConfigError, ModelError
from antiphon.models.families.gemma2_keys import rules_of
from antiphon.models.folders.hub import load_pretrained, save_pretrained
from antiphon.nn.embedding import OwnVector

NORM = {"qk_norm": {"shared": True, "eps": 1e-6}}


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def changed(folder: Path, changes: dict[str, Any]) -> Path:
    """The folder of a random checkpoint, some keys of its config.json changed; names with dots are within sections."""
    save_pretrained(folder, parts_of("t5gemma2"))
    content = config_of(folder)
    for name, value in changes.items():
        *path, last = name.split(".")
        section = content
        for key in path:
            section = section[key]
        section[last] = value
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def test_layers_of_each_side() -> None:
    """By default every sixth layer sees all tokens; a window of 2 sees one token to the right in the encoder."""
    attention = parts_of("t5gemma2").attention
    local = {"rotary": {"base": 10_000.0, "factor": 1.0}}
    assert attention.encoder == {"all": [NORM, {"window": {"window": 1, "right": 2}}, local]}
    assert attention.decoder == {"all": [NORM, {"window": 3}, local]} and attention.cross == "merged"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 512, 513])
def test_windows_there_and_back(size: int, tmp_path: Path) -> None:
    folder = changed(tmp_path / "a", {"encoder.text_config.sliding_window": size, "decoder.sliding_window": size})
    again = config_of(save_pretrained(tmp_path / "b", load_pretrained(folder)))
    assert again["encoder"]["text_config"]["sliding_window"] == again["decoder"]["sliding_window"] == size


def test_keys_of_older_files(tmp_path: Path) -> None:
    kinds = ["sliding_attention", "full_attention"]
    changes = {
        "rope_parameters": None, "rope_theta": 500.0, "rope_local_base_freq": 50.0, "layer_types": kinds,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }  # fmt: skip
    folder = changed(tmp_path / "a", {f"decoder.{name}": value for name, value in changes.items()})
    parts = load_pretrained(folder)
    rules = rules_of(parts.attention.decoder, 2, family="t5gemma2")
    assert [rule["rotary"] for rule in rules] == [{"base": 50.0, "factor": 1.0}, {"base": 500.0, "factor": 8.0}]
    new = config_of(save_pretrained(tmp_path / "b", parts))["decoder"]["rope_parameters"]
    assert new["full_attention"] == {"rope_type": "linear", "rope_theta": 500.0, "factor": 8.0}
    assert new["sliding_attention"] == {"rope_type": "default", "rope_theta": 50.0}


def test_the_vector_of_the_end_of_an_image_is_not_scaled() -> None:
    network = parts_of("t5gemma2").network
    assert network.source.own is network.target.own and isinstance(network.source.own, OwnVector)
    network.source.own.vector.data.fill_(3.0)
    x, _ = network.target(torch.tensor([[5, 262]]), Tokens(torch.arange(2)[None]))
    torch.testing.assert_close(x[0, 1], torch.full((16,), 3.0))
    torch.testing.assert_close(x[0, 0], network.target.table.weight[5] * 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decoder.attention_bias": True}, "`decoder.attention_bias` must be false, but is true"),
        ({"decoder.head_dim": 8}, r"`decoder.head_dim` must be that of the encoder's text \(6\), but is 8"),
        ({"decoder.hidden_size": 8}, r"`decoder.hidden_size` must be that of the encoder's text \(16\), but is 8"),
        ({"encoder.text_config.head_dim": 5}, "`encoder.text_config.head_dim` must be even for rotary positions"),
        ({"encoder.text_config.layer_types": ["chunked"] * 2}, "`encoder.text_config.layer_types"),
        ({"decoder.layer_types": ["full_attention"]}, r"`decoder.layer_types` must have one entry a layer \(2\)"),
        ({"decoder.sliding_window": None}, "`decoder.sliding_window` must be given for layers of `sliding_att"),
        (
            {"decoder.rope_parameters.full_attention": {"rope_type": "yarn"}},
            "`decoder.rope_parameters.full_attention.rope_type`",
        ),
        (
            {"decoder.rope_parameters.full_attention": {"rope_type": "linear"}},
            "`decoder.rope_parameters.full_attention.factor` must be given for `rope_type` linear",
        ),
        ({"encoder.vision_config.hidden_act": "mish"}, "`encoder.vision_config.hidden_act` must be one of gelu_py"),
        ({"encoder.vision_config.model_type": "clip"}, "`encoder.vision_config.model_type`"),
        ({"encoder.vision_config.image_size": 2**31}, "`encoder.vision_config.image_size` must be at least 1 and at"),
        ({"encoder.mm_tokens_per_image": 3}, "must be the square of a divisor of the 2 patches of a side, but is 3"),
    ],
)
def test_what_is_refused_is_named(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = changed(tmp_path, changes)
    with pytest.raises(ConfigError, match=said) as caught:
        load_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_other_attentions_are_not_written_as_t5gemma2(tmp_path: Path) -> None:
    parts = parts_of("t5gemma2")
    local: list[object] = [NORM, {"window": 3}, "rotary"]
    for role, entry, said in (
        ("encoder", {"all": [NORM, {"window": {"window": 3, "right": 7}}, "rotary"]}, "`right` as large or one larger"),
        ("decoder", [{"all": local}, {"all": [NORM, {"window": 4}, "rotary"]}], "one plain `window` in the decoder"),
        ("decoder", {"all": ["qk_norm", "rotary"]}, r"`qk_norm` \(with `shared`\)"),
        ("cross", "full", "the cross-attention `merged`"),
    ):
        odd = replace(parts, attention=replace(parts.attention, **{role: entry}))
        with pytest.raises(ModelError, match=f"written as t5gemma2 must have .*{said}"):
            save_pretrained(tmp_path, odd)


def test_bfloat16_is_near_and_float16_refused(tmp_path: Path) -> None:
    made = save_pretrained(tmp_path, parts_of("t5gemma2"))
    exact, near = logits(load_pretrained(made)), logits(load_pretrained(made, dtype=torch.bfloat16))
    assert float((near.float() - exact).abs().max()) < 2e-2 * float(exact.abs().max())
    with pytest.raises(ModelError, match="must not be float16 for t5gemma2"):
        load_pretrained(made, dtype=torch.float16)
