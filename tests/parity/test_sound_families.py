"""Speech2Text and Moonshine against transformers: logits, searches, features, and the way back.

Replaced in the reference, so that float64 is compared with float64: the tables of sinusoids of Speech2Text.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from counts import count
from parity import sound
from parity.test_families import difference
from torch import Tensor
from torture.figures import FigureRecorder
from transformers import PreTrainedModel

from antiphon.batch import Example, collate
from antiphon.config import GenerationConfig
from antiphon.generation.model import Model
from antiphon.inputs import AudioInput
from antiphon.models.folders.checkpoint import load_parts, save_model_folder
from antiphon.models.folders.hub import load_pretrained, save_pretrained
from antiphon.search import engine

CASES = [(name, seed) for name in sound.FAMILIES for seed in range(count("sound_families"))]
TARGETS = [[30, 8, 9], [5], [10, 7, 30, 4, 9], [11, 12], [6]]
SEARCHES = ((1, 1.0, 0), (4, 1.0, 0), (4, 0.6, 2))


def their_logits(model: PreTrainedModel, rows: list[Tensor]) -> list[Tensor]:
    """The logits of each target's tokens; rows one by one, since padding changes the reference's own convolutions."""
    found = []
    for row, target in zip(rows, TARGETS, strict=True):
        ids = torch.tensor([[model.config.decoder_start_token_id, *target[:-1]]])
        with torch.no_grad():
            found.append(model(**sound.arguments(row, model.dtype), decoder_input_ids=ids).logits[0])
    return found


def our_logits(model: Model, rows: list[Tensor]) -> list[Tensor]:
    """All rows in one batch."""
    network, special_tokens = model.network, model.special_tokens
    pairs = [Example(row, target, i) for i, (row, target) in enumerate(zip(rows, TARGETS, strict=True))]
    batch = collate(pairs, pad_id=special_tokens.pad, start_id=special_tokens.start)
    with torch.no_grad():
        memory = network.encode(batch.source, batch.source_tokens)
        hidden, _ = network.decode(batch.target_ids, batch.target_tokens, memory, None)
        return [row[: len(target)] for row, target in zip(network.logits(hidden), TARGETS, strict=True)]


def their_answers(model: PreTrainedModel, rows: list[Tensor], **settings: object) -> list[list[int]]:
    """What transformers' generate answers, from behind the start token to the end; one by one."""
    end, start = model.config.eos_token_id, model.config.decoder_start_token_id
    never = sorted({start, model.config.pad_token_id} - {end, None})
    answers = []
    for row in rows:
        found = model.generate(
            **sound.arguments(row, model.dtype),
            suppress_tokens=never or None,
            early_stopping="never",
            use_cache=False,
            **settings,
        )
        ids = found[0, 1:].tolist()
        answers.append(ids[: ids.index(end) + 1] if end in ids else ids)
    return answers


def tied(model: Model, source: Tensor, mine: list[int], other: list[int]) -> bool:
    """Whether two answers are equally good: the reference sums in float32, which cannot tell them apart."""
    scores = engine.forced_scores(model.network, [(source, mine), (source, other)], model.special_tokens)
    return len(mine) == len(other) and abs(scores[0] - scores[1]) < 1e-6


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_logits_searches_and_the_way_back(name: str, seed: int, tmp_path: Path, figures: FigureRecorder) -> None:
    theirs = sound.make(name, seed, tmp_path / "theirs")
    parts = load_pretrained(tmp_path / "theirs", dtype=torch.float64)
    model, rows = Model.from_parts(parts), sound.features(theirs, seed)
    assert isinstance(model.input_kind, AudioInput)
    narrow = their_logits(theirs, rows)
    theirs = sound.widen(theirs)
    wanted, found = their_logits(theirs, rows), our_logits(model, rows)
    assert difference(found, wanted) < 1e-10
    assert difference(found, [row.double() for row in narrow]) < 1e-3  # the reference as it comes, in float32
    figures.add("configs", 1)
    figures.most("float64 difference", difference(found, wanted))

    first, some = len(model.special_tokens.first), rows[::2]
    for beams, penalty, ngram in SEARCHES:
        config = GenerationConfig(
            beam_size=beams, length_penalty=penalty, no_repeat_ngram=ngram, max_new_tokens=12 - first
        )
        ours = [answers[0].ids for answers in engine.answer(model.network, some, config, model.special_tokens)]
        reference_answers = their_answers(
            theirs, some, num_beams=beams, length_penalty=penalty, no_repeat_ngram_size=ngram, max_length=13
        )
        for row, mine, other in zip(some, ours, reference_answers, strict=True):
            assert mine == other or tied(model, row, mine, other), (beams, penalty, ngram)
            figures.add("answers equal by tokens" if mine == other else "answers that tie", 1)

    save_pretrained(tmp_path / "back", parts)
    back = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / "back", dtype=torch.float64).eval()
    assert type(back) is type(theirs)
    assert difference(their_logits(sound.widen(back), rows), wanted) < 1e-13
    save_model_folder(tmp_path / "own", parts)
    again = load_parts(tmp_path / "own", dtype=torch.float64)
    assert again.model == parts.model and again.generation == parts.generation
    assert difference(our_logits(Model.from_parts(again), rows), found) == 0


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_features_of_clips(name: str, seed: int, tmp_path: Path) -> None:
    sound.make(name, seed, tmp_path / "theirs")
    parts = load_pretrained(tmp_path / "theirs")
    kind = Model.from_parts(parts).input_kind
    assert isinstance(kind, AudioInput)
    save_pretrained(tmp_path / "back", parts)
    for folder in ("theirs", "back"):
        extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / folder)
        for clip in sound.samples(seed):
            wanted = extractor(clip.numpy(), sampling_rate=kind.audio.sampling_rate, return_tensors="pt")
            sound.check_features(clip, wanted, kind)
