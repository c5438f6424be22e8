"""Whisper against transformers: logits, prompts, searches, features, and the way back.

Nothing of the reference is replaced: it computes in the type that it is given, and its sinusoids stand in the file.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from counts import count
from inputs.test_sound import write_wav
from parity import whisper
from parity.test_families import difference
from torch import Tensor
from torture.figures import FigureRecorder
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

import antiphon
from antiphon.batch import Example, collate
from antiphon.config import GenerationConfig
from antiphon.generation.model import Model
from antiphon.generation.prompting import special_tokens_of
from antiphon.inputs.sound import fit, log_mel
from antiphon.models.families.spoken import CODES
from antiphon.models.folders.checkpoint import load_parts, save_model_folder
from antiphon.models.folders.hub import load_pretrained, save_pretrained
from antiphon.search import engine

Whisper = transformers.WhisperForConditionalGeneration
TARGETS = [[70, 80, 90], [5], [100, 7, 30, 44, 9], [1, 2], [3, 4, 5], [6]]


def their_logits(model: Whisper, features: Tensor, targets: list[list[int]]) -> list[Tensor]:
    """The logits of each target's tokens; rows one by one, as padding of targets is no matter of the reference."""
    found = []
    for row, target in zip(features, targets, strict=True):
        ids = torch.tensor([[model.config.decoder_start_token_id, *target[:-1]]])
        with torch.no_grad():
            found.append(model(input_features=row[None].to(model.dtype), decoder_input_ids=ids).logits[0])
    return found


def our_logits(model: Model, features: Tensor, targets: list[list[int]]) -> list[Tensor]:
    """All rows at once; features (N, M, F) as the reference has them."""
    network, special_tokens = model.network, model.special_tokens
    pairs = [Example(row.T, target, i) for i, (row, target) in enumerate(zip(features, targets, strict=True))]
    batch = collate(pairs, pad_id=special_tokens.pad, start_id=special_tokens.start)
    with torch.no_grad():
        memory = network.encode(batch.source, batch.source_tokens)
        hidden, _ = network.decode(batch.target_ids, batch.target_tokens, memory, None)
        return [row[: len(target)] for row, target in zip(network.logits(hidden), targets, strict=True)]


@pytest.mark.parametrize("seed", range(count("families")))
@pytest.mark.parametrize(("bins", "window", "hop"), [(80, 400, 160), (128, 400, 160), (80, 320, 100)])
def test_features(bins: int, window: int, hop: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    extractor = transformers.WhisperFeatureExtractor(bins, n_fft=window, hop_length=hop, chunk_length=2)
    walk = torch.randn(40000, generator=generator).cumsum(0)
    tone = 0.5 * (torch.arange(20000) * 0.2).sin() + 1e-3 * torch.randn(20000, generator=generator)
    noise = torch.rand(12345, generator=generator) - 0.5
    for clip in (noise, walk / walk.abs().max(), tone, noise[:1], 1e-6 * noise, noise[:0]):
        wanted = torch.from_numpy(extractor(clip.numpy(), sampling_rate=16000)["input_features"][0]).T
        found = log_mel(fit(clip, 32000), bins=bins, window=window, hop=hop, sampling_rate=16000)
        assert found.shape == wanted.shape and float((found - wanted).abs().max()) < 1e-5


@pytest.mark.parametrize("seed", range(count("families")))
def test_logits_and_the_way_back(seed: int, tmp_path: Path, figures: FigureRecorder) -> None:
    theirs = whisper.make(seed, tmp_path / "theirs")
    features = whisper.features(tmp_path / "theirs", whisper.noises(seed, tmp_path / "theirs")).double()
    parts = load_pretrained(tmp_path / "theirs", dtype=torch.float64)
    narrow = their_logits(theirs, features, TARGETS)
    wanted, found = (
        their_logits(theirs.double(), features, TARGETS),
        our_logits(Model.from_parts(parts), features, TARGETS),
    )
    assert difference(found, wanted) < 1e-10
    figures.add("configs", 1)
    figures.most("float64 difference", difference(found, wanted))
    assert difference(found, [row.double() for row in narrow]) < 1e-3

    save_pretrained(tmp_path / "back", parts)
    clips = whisper.noises(seed, tmp_path / "theirs")
    assert torch.equal(whisper.features(tmp_path / "back", clips), whisper.features(tmp_path / "theirs", clips))
    back = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / "back", dtype=torch.float64).eval()
    assert type(back) is Whisper
    before, after = theirs.state_dict(), back.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert difference(their_logits(back, features, TARGETS), wanted) < 1e-13  # their sums differ in the last bit
    settings = {"num_beams": 1, "max_new_tokens": 5}
    assert their_answers(back, features, **settings) == their_answers(theirs, features, **settings)
    save_model_folder(tmp_path / "own", parts)
    again = load_parts(tmp_path / "own", dtype=torch.float64)
    assert again.model == parts.model and again.generation == parts.generation
    assert difference(our_logits(Model.from_parts(again), features, TARGETS), found) == 0


def their_answers(model: Whisper, features: Tensor, **settings: object) -> list[list[int]]:
    """What transformers' generate answers, its prompt with it, from behind the start token to the end; one by one."""
    end, start = model.config.eos_token_id, model.config.decoder_start_token_id
    never = sorted({*(model.generation_config.suppress_tokens or ()), start})
    answers = []
    for row in features:
        found = model.generate(
            input_features=row[None], suppress_tokens=never, early_stopping="never", use_cache=False,
            return_dict_in_generate=True, force_unique_generate_call=True, **settings,
        )  # fmt: skip
        assert int(found.sequences[0, 0]) == start
        ids = found.sequences[0, 1:].tolist()
        answers.append(ids[: ids.index(end) + 1] if end in ids else ids)
    return answers


def equally_good(model: Model, source: engine.SourceInput, mine: list[int], other: list[int]) -> bool:
    """The reference sums in float32, which cannot tell some answers apart; both must have one prompt."""
    own = special_tokens_of(model.input_kind, model.network, [source], model.special_tokens)[0]
    scores = engine.forced_scores(model.network, [(source.ids, mine), (source.ids, other)], own)
    return mine[: len(own.first)] == other[: len(own.first)] and abs(scores[0] - scores[1]) < 1e-6


SEARCHES = [(1, 1.0), (4, 1.0), (4, 0.6)]  # beams and length penalty: the next ones in turn for each config


@pytest.mark.parametrize("seed", range(count("families")))
def test_greedy_and_beam_search_under_the_prompt(seed: int, tmp_path: Path) -> None:
    theirs = whisper.make(seed, tmp_path).double()
    features = whisper.features(tmp_path, whisper.noises(seed, tmp_path)).double()
    model = Model.from_parts(load_pretrained(tmp_path, dtype=torch.float64))
    sources = [engine.SourceInput(row.T, i) for i, row in enumerate(features)]
    number = count("whisper_searches")
    for beams, penalty in (SEARCHES[(seed * number + i) % len(SEARCHES)] for i in range(number)):
        config = GenerationConfig(beam_size=beams, length_penalty=penalty, max_new_tokens=9)
        each = special_tokens_of(model.input_kind, model.network, sources, model.special_tokens)
        found = [
            engine.answer(model.network, [source], config, tokens)[0]
            for source, tokens in zip(sources, each, strict=True)
        ]
        wanted = their_answers(theirs, features, num_beams=beams, length_penalty=penalty, max_new_tokens=9)
        for source, mine, other in zip(sources, found, wanted, strict=True):
            assert mine[0].ids == other or equally_good(model, source, mine[0].ids, other), (beams, penalty)


def test_a_wav_file_end_to_end(tmp_path: Path) -> None:
    """From a file to text: transformers' features, generate and tokenizer, and ours."""
    theirs = whisper.make(1, tmp_path)
    model, clip = antiphon.load(tmp_path, device="cpu"), torch.tensor(whisper.noises(1, tmp_path)[0])
    numbers = (clip.clamp(-1, 1) * 32767).int().tolist()
    file = write_wav(tmp_path / "clip.wav", numbers)
    features = whisper.features(tmp_path, [[number / 32768 for number in numbers]])
    wanted = their_answers(theirs, features, num_beams=4, max_new_tokens=9)[0]
    answer = model.generate(file, beam_size=4, max_new_tokens=9)[0]
    reference = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert answer.text == reference.decode(wanted, skip_special_tokens=True) != ""


def test_names_of_languages() -> None:
    assert CODES == TO_LANGUAGE_CODE
