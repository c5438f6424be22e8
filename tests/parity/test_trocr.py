"""TrOCR against transformers: pixels, logits, searches, and the way back, with a ViT and a DeiT as encoder.

The reference computes sinusoids in float32; replaced here, so that float64 is compared with float64.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from counts import count
from parity import trocr
from parity.test_families import difference, sinusoids, tied
from torch import Tensor
from torture.figures import FigureRecorder
from transformers.models.trocr.modeling_trocr import TrOCRSinusoidalPositionalEmbedding

import antiphon
from antiphon.batch import Example, collate
from antiphon.config import GenerationConfig
from antiphon.errors import AntiphonError
from antiphon.generation.model import Model
from antiphon.inputs.image_features import image_of
from antiphon.models.folders.checkpoint import load_parts, save_model_folder
from antiphon.models.folders.hub import is_foreign, load_pretrained, save_pretrained
from antiphon.search import engine

TARGETS = [[20, 30, 9], [5], [10, 7, 30, 34, 9], [6, 3]]


def widen(model: trocr.TrOCR) -> trocr.TrOCR:
    """The reference in float64, its sinusoids too."""
    for module in model.double().modules():
        if isinstance(module, TrOCRSinusoidalPositionalEmbedding):
            module.weights = sinusoids(*module.weights.shape, last=module.weights.shape[1] - 2)
            module.weights[module.padding_idx] = 0
    return model


def their_logits(model: trocr.TrOCR, pixels: Tensor) -> list[Tensor]:
    """The logits of each target's tokens, one by one."""
    found = []
    for row, target in zip(pixels, TARGETS, strict=True):
        with torch.no_grad():
            ids = torch.tensor([[2, *target[:-1]]])
            found.append(model(pixel_values=row[None].to(model.dtype), decoder_input_ids=ids).logits[0])
    return found


def our_logits(model: Model, features: list[Tensor]) -> list[Tensor]:
    """All rows at once."""
    network, special_tokens = model.network, model.special_tokens
    pairs = [Example(row, target, i) for i, (row, target) in enumerate(zip(features, TARGETS, strict=True))]
    batch = collate(pairs, pad_id=special_tokens.pad, start_id=special_tokens.start)
    with torch.no_grad():
        memory = network.encode(batch.source, batch.source_tokens)
        hidden, _ = network.decode(batch.target_ids, batch.target_tokens, memory, None)
        return [row[: len(target)] for row, target in zip(network.logits(hidden), TARGETS, strict=True)]


def features_of(model: Model, images: list[Tensor]) -> list[Tensor]:
    return [model.input_kind.features(row) for row in model.input_kind.read(images, "texts")]


def as_patches(pixels: Tensor) -> Tensor:
    """The reference's pixels (N, C, H, W) as our features without places, (N, L, C * 16)."""
    return torch.nn.functional.unfold(pixels, kernel_size=4, stride=4).mT


@pytest.mark.parametrize("seed", range(count("image_families")))
def test_pixels_logits_searches_and_the_way_back(seed: int, tmp_path: Path, figures: FigureRecorder) -> None:
    theirs = trocr.make(seed, tmp_path / "theirs")
    encoder: Any = theirs.config.encoder
    images = trocr.pictures(seed, encoder.num_channels)
    pixels = trocr.pixel_values(tmp_path / "theirs", images)
    parts = load_pretrained(tmp_path / "theirs", dtype=torch.float64)
    model = Model.from_parts(parts)
    features = features_of(model, images)
    patches = torch.stack(features)[..., :-2]
    assert float((patches - as_patches(pixels)).abs().max()) < 1e-6
    assert parts.model.family is not None
    assert parts.model.family.memory_projection == hasattr(theirs, "enc_to_dec_proj") == (seed % 3 == 1)
    places = [
        torch.cat([row, own[:, -2:].double()], 1)
        for row, own in zip(as_patches(pixels.double()), features, strict=True)
    ]

    narrow = their_logits(theirs, pixels)
    theirs = widen(theirs)
    wanted, found = their_logits(theirs, pixels), our_logits(model, places)
    assert difference(found, wanted) < 1e-10
    assert difference(found, [row.double() for row in narrow]) < 1e-3
    figures.add("configs", 1)
    figures.most("float64 difference", difference(found, wanted))

    first = len(model.special_tokens.first)
    sources = [engine.SourceInput(row, i) for i, row in enumerate(places)]
    for beams, penalty in ((1, 1.0), (4, 1.0), (4, 0.6)):
        config = GenerationConfig(beam_size=beams, length_penalty=penalty, max_new_tokens=12 - first)
        mine = [found[0].ids for found in engine.answer(model.network, sources, config, model.special_tokens)]
        other = their_answers(theirs, pixels, num_beams=beams, length_penalty=penalty, max_length=13)
        for source, one, two in zip(places, mine, other, strict=True):
            assert one == two or tied(model, source, one, two), (beams, penalty)  # type: ignore[arg-type]
            figures.add("answers equal by tokens" if one == two else "answers that tie", 1)

    save_pretrained(tmp_path / "back", parts)
    back = trocr.TrOCR.from_pretrained(tmp_path / "back", dtype=torch.float64).eval()
    assert torch.equal(trocr.pixel_values(tmp_path / "back", images), pixels)
    assert difference(their_logits(widen(back), pixels), wanted) < 1e-13
    save_model_folder(tmp_path / "own", parts)
    again = load_parts(tmp_path / "own", dtype=torch.float64)
    assert again.model == parts.model and again.generation == parts.generation
    assert difference(our_logits(Model.from_parts(again), places), found) == 0


def their_answers(model: Any, pixels: Tensor, **settings: object) -> list[list[int]]:
    found = model.generate(
        pixel_values=pixels.double(), suppress_tokens=[1], early_stopping="never", use_cache=False, **settings
    )  # fmt: skip
    answers = []
    for row in found[:, 1:].tolist():
        answers.append(row[: row.index(2) + 1] if 2 in row else row)
    return answers


def test_a_published_reader_of_lines_answers(tmp_path: Path) -> None:
    trocr.make(3, tmp_path)
    model = antiphon.load(tmp_path, device="cpu")
    images = trocr.pictures(3, 3)
    image_of(images[0]).save(tmp_path / "line.png")
    assert model.generate(str(tmp_path / "line.png"))[0].text == model.generate(images)[0].text


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "config.json",
            {"encoder.model_type": "swin"},
            "must be a vision-encoder-decoder of `encoder` (vit, deit) and `decoder` (trocr)",
        ),
        ("config.json", {"decoder.cross_attention_hidden_size": 20}, "`decoder.cross_attention_hidden_size`"),
        ("config.json", {"encoder.patch_size": 5}, "`encoder.image_size` must be whole patches of 5 pixels"),
        ("config.json", {"encoder.hidden_act": "sin"}, "`encoder.hidden_act` must be one of relu"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 8}}, "preprocessor_config.json must scale images to"),
        ("preprocessor_config.json", {"do_center_crop": True, "crop_size": 4}, "without cutting"),
    ],
)
def test_what_is_not_built_is_named(file: str, change: dict[str, object], message: str, tmp_path: Path) -> None:
    trocr.make(0, tmp_path)
    content = json.loads((tmp_path / file).read_text())
    for path, value in change.items():
        *sections, name = path.split(".")
        place = content
        for section in sections:
            place = place[section]
        place[name] = value
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(AntiphonError) as error:
        load_pretrained(tmp_path)
    assert message in str(error.value)


def test_other_encoders_and_decoders_are_left_to_transformers() -> None:
    config = {"model_type": "vision-encoder-decoder", "is_encoder_decoder": True}
    assert is_foreign({**config, "encoder": {"model_type": "swin"}, "decoder": {"model_type": "trocr"}})
    assert not is_foreign({**config, "encoder": {"model_type": "deit"}, "decoder": {"model_type": "trocr"}})
