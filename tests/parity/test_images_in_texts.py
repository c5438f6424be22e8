"""T5Gemma 2 with images in its texts against transformers: logits and searches of sources with none, one or two images.

The reference's casts to float32 are replaced as in tests/parity/test_families.py, and those of its vision encoder.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from counts import count
from parity import reference
from parity.test_families import (
    difference,
    padded,
    start_of,
    tied,
    unnarrowed,
    wide_reference,  # noqa: F401  (a fixture)
    widen,
)
from parity.test_fine_tuning import checkpoint
from parity.test_fine_tuning import recipe as fine_tuning
from PIL import Image
from torch import Tensor
from torture.figures import FigureRecorder
from transformers import PreTrainedModel
from transformers.models.siglip import modeling_siglip

import antiphon
from antiphon.batch import Example, collate
from antiphon.config import GenerationConfig
from antiphon.config.vision import VisionConfig
from antiphon.errors import DataError
from antiphon.generation.model import Model
from antiphon.inputs.image_text import rows_of
from antiphon.models.folders.hub import express, load_pretrained
from antiphon.recipe import from_mapping
from antiphon.search import engine
from antiphon.workflows.base import InitialModel, find_base
from antiphon.workflows.job import TrainingJob

Source = tuple[list[int], list[Tensor]]  # ids, and the images in them


def sources_of(vision: VisionConfig, size: int, dice: random.Random) -> list[Source]:
    """Texts of several lengths with two images, none and one."""
    generator = torch.Generator().manual_seed(dice.randrange(1000))
    found = []
    for images in (2, 0, 1):
        ids: list[int] = []
        for image in range(images + 1):
            ids += [dice.randrange(8, 38) for _ in range(dice.choice([1, 4]))]
            ids += [vision.begin_id, *[vision.image_id] * vision.tokens, vision.end_id] if image < images else [1]
        shape = (vision.channels, vision.image_size, vision.image_size)
        found.append((ids, [torch.randn(shape, generator=generator).double() for _ in range(images)]))
    return found


def inputs_of(model: PreTrainedModel, sources: list[Source]) -> dict[str, Tensor]:
    """The reference's arguments for these sources."""
    ids, mask = padded([ids for ids, _ in sources], model.config.pad_token_id)
    pixels = torch.stack([image for _, images in sources for image in images])
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels}


@pytest.mark.parametrize("seed", range(count("images_in_texts")))
def test_logits_and_searches(
    seed: int, tmp_path: Path, figures: FigureRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager = "eager_attention_forward"
    monkeypatch.setattr(modeling_siglip, eager, unnarrowed(getattr(modeling_siglip, eager)))
    theirs = widen(reference.make(reference.t5gemma2, seed, tmp_path))
    model = Model.from_parts(load_pretrained(tmp_path, dtype=torch.float64))
    network, special_tokens, vision = model.network, model.special_tokens, model.network.source.vision.settings
    dice = random.Random(seed)
    sources = sources_of(vision, network.vocab_size, dice)
    targets = [[dice.randrange(3, 38) for _ in range(length)] for length in (5, 2, 7)]
    begun, seen = padded([[start_of(theirs), *row[:-1]] for row in targets], special_tokens.pad)
    rows = [rows_of(images, ids, vision).double() for ids, images in sources]
    batch = collate(
        [Example(row, target, i) for i, (row, target) in enumerate(zip(rows, targets, strict=True))],
        pad_id=special_tokens.pad,
        start_id=special_tokens.start,
    )
    with torch.no_grad():
        given = inputs_of(theirs, sources)
        wanted = theirs(**given, decoder_input_ids=begun, decoder_attention_mask=seen).logits
        found = network.logits(batch)
    cut = [
        (one[: len(target)], other[: len(target)]) for one, other, target in zip(found, wanted, targets, strict=True)
    ]
    away = difference([one for one, _ in cut], [other for _, other in cut])
    assert away < 1e-10
    figures.most("float64 difference with images", away)
    for beams in (1, 4):
        config = GenerationConfig(beam_size=beams, max_new_tokens=12)
        ours = [answers[0].ids for answers in engine.answer(network, rows, config, special_tokens)]
        made = theirs.generate(
            **given,
            suppress_tokens=[special_tokens.pad, special_tokens.start],
            early_stopping="never",
            use_cache=False,
            num_beams=beams,
            max_length=13,
        )
        for row, mine, answer in zip(rows, ours, made[:, 1:].tolist(), strict=True):
            other = answer[: answer.index(1) + 1] if 1 in answer else answer
            assert mine == other or tied(model, row, mine, other), beams  # type: ignore[arg-type]
            figures.add("answers with images equal by tokens" if mine == other else "answers that tie", 1)


def test_as_many_ids_as_vectors(tmp_path: Path) -> None:
    reference.make(reference.t5gemma2, 0, tmp_path)
    network = load_pretrained(tmp_path).network
    vision = network.source.vision.settings
    image = torch.zeros(vision.channels, vision.image_size, vision.image_size)
    row = rows_of([image], [vision.begin_id, *[vision.image_id] * (vision.tokens + 1), vision.end_id, 1], vision)
    batch = collate([Example(row, [5, 1], 0)], pad_id=0, start_id=2)
    with pytest.raises(DataError, match=f"a text must have {vision.tokens} ids 39 for each image, but a batch of 1 "):
        network(batch)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_first_loss_of_a_recipe_and_its_gradients(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a table with images beside texts, and texts without; pixels as NumPy and Pillow give them."""
    eager = "eager_attention_forward"
    monkeypatch.setattr(modeling_siglip, eager, unnarrowed(getattr(modeling_siglip, eager)))
    base, rows, generator = tmp_path / "theirs", [], np.random.default_rng(0)
    theirs = widen(checkpoint("t5gemma2", base, seed=seed))
    vision = theirs.config.encoder.vision_config
    sources, targets, pixels = [], [], []
    for number, (question, answer) in enumerate((("w8 w9", "w20"), ("w11", "w21 w22"), ("w8 w12 w13", "w23"))):
        ids = [int(word[1:]) for word in question.split()]
        if number != 1:
            size = (int(generator.integers(4, 20)), 9, 3)
            image = Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8))
            image.save(tmp_path / f"{number}.png")
            scaled = image.resize((vision.image_size,) * 2, Image.Resampling.BILINEAR)
            whole = torch.from_numpy(np.asarray(scaled, np.float32)).permute(2, 0, 1)
            pixels.append((whole / 127.5 - 1).double())
            ids = [38, *[39] * theirs.config.encoder.mm_tokens_per_image, 7, *ids]
        sources.append([*ids, 1])
        targets.append([*(int(word[1:]) for word in answer.split()), 1])
        rows.append(f"{'' if number == 1 else f'{number}.png'}\t{question}\t{answer}")
    (tmp_path / "rows.tsv").write_text("\n".join(["image\tquestion\tcaption", *rows]) + "\n")
    data = {"train": {"path": str(tmp_path / "rows.tsv")}}
    config = from_mapping(fine_tuning(base, tmp_path / "run", data=data, task="caption"))
    begin = find_base(config, tmp_path / "run").parts
    begin = replace(begin, network=antiphon.load(base, dtype="float64").network)
    job = TrainingJob(config, tmp_path / "run", torch.device("cpu"), base=InitialModel(begin), quiet=True)
    examples = next(job.loop.parts.batches)
    assert len(examples) == 3
    found = job.network(job.loop.collate(examples), job.loop.objective.criterion)
    (found.objective / found.labels).backward()
    order = [example.index for example in examples]
    ids, mask = padded([sources[i] for i in order], theirs.config.pad_token_id)
    labels, there = padded([targets[i] for i in order], 0)
    for where, module in theirs.named_modules():
        if isinstance(module, torch.nn.Embedding) and where.endswith("embed_tokens"):
            module.padding_idx = None
    given = {"pixel_values": torch.stack([pixels[i // 2] for i in order if i != 1])}
    given |= {"input_ids": ids, "attention_mask": mask, "labels": labels.masked_fill(there == 0, -100)}
    wanted = unnarrowed(theirs.requires_grad_(True))(**given).loss
    wanted.backward()
    assert abs(float(found.objective.detach() / found.labels - wanted.detach())) < 1e-9
    family, ours, _ = express(replace(begin, network=job.network))
    own = dict(job.network.named_parameters())
    for row in family.rows(ours):
        gradient, expected = own[row.ours].grad, theirs.get_parameter(family.in_modules(row.theirs)).grad
        assert gradient is not None and expected is not None, row.ours
        expected = row.op.ours(expected) - row.op.ours(torch.zeros_like(expected))
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)
