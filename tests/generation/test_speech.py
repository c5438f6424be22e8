"""A model of speech, from .wav files and arrays to text; that its numbers are transformers' is tests/parity/."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from inputs.test_sound import write_wav

import antiphon
from antiphon.config import AttentionConfig, FamilyConfig, GenerationConfig, ModelConfig
from antiphon.config.speech import SpeechConfig
from antiphon.errors import ConfigError, DataError
from antiphon.generation.model import Model
from antiphon.generation.prompting import special_tokens_of
from antiphon.generation.requests import source_inputs
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts
from antiphon.search.config import SearchConfig
from antiphon.search.engine import forced_scores
from antiphon.search.special_tokens import SpecialTokens
from antiphon.text import train_tokenizer

LENGTHS = (700, 1000, 1, 333, 999)
SPEECH = SpeechConfig(
    mel_bins=5, positions=4, sampling_rate=1000, hop=125, window=100, seconds=1, languages=(("en", 266), ("de", 267)),
    tasks=(("transcribe", 268),), task="transcribe", untimed_id=269, never_first_ids=(2,),
)  # fmt: skip


def speech_model(speech: SpeechConfig = SPEECH, *, vocab: int = 270, seed: int = 5) -> Model:
    """A random model for one second of speech at a time, 1,000 samples a second, with a tokenizer of bytes."""
    family = FamilyConfig(
        name="whisper", pad_id=2, start_id=265, end_id=2, key_bias=False, embedding_scale=False, speech=speech
    )
    config = ModelConfig(
        preset="tiny", d_model=16, num_heads=2, ffn_dim=20, positions="learned", norm="layer", activation="gelu",
        bias=True, tie_embeddings=True, max_length=30, dropout=0.0, family=family,
    )  # fmt: skip
    attention = AttentionConfig()
    network = build_network(config, attention, source_vocab=vocab, target_vocab=vocab, shared=True, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():  # of a size at which nothing is flat
        noise = 0.5 * torch.randn(parameter.shape, generator=generator)
        parameter.data.copy_(noise if parameter.dim() > 1 else parameter.data + 0.4 * noise)
    tokenizer = train_tokenizer(["in 3 hours"], kind="bytes", vocab_size=260)
    search = GenerationConfig(beam_size=2, max_new_tokens=9)
    return Model.from_parts(Parts(network.double().eval(), config, attention, tokenizer, tokenizer, "text", search))


def clips() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(length, generator=generator) - 0.5 for length in LENGTHS]


def test_files_and_arrays_are_heard_alike(tmp_path: Path) -> None:
    model = speech_model()
    numbers = [(clip * 2**15).int() for clip in clips()]
    files = [write_wav(tmp_path / f"{i}.wav", row.tolist(), rate=1000) for i, row in enumerate(numbers)]
    samples = [row.float() / 2**15 for row in numbers]
    wanted = model.generate(samples)
    assert len({answer.text for answer in wanted}) > 1
    assert model.generate(files) == model.generate([str(file) for file in files]) == wanted
    assert model.generate([row.numpy() for row in samples]) == model.generate(iter(samples)) == wanted
    for one in (files[0], str(files[0]), samples[0], samples[0].numpy(), [samples[0].tolist()]):
        alone = model.generate(one)
        assert len(alone) == 1 and alone[0].tokens == wanted[0].tokens


def test_a_batch_answers_as_each_clip_alone_and_streams_as_it_answers() -> None:
    model = speech_model()
    for settings in ({"beam_size": 1}, {"beam_size": 4}, {"temperature": 1.0, "n_best": 2}):
        batch = model.generate(clips(), **settings)
        for row, (clip, answer) in enumerate(zip(clips(), batch, strict=True)):
            alone = model.generate(clip, first_row=row, **settings)[0]
            assert alone.text == answer.text and alone.score == pytest.approx(answer.score, abs=1e-10)
    for clip, answer in zip(clips(), model.generate(clips()), strict=True):
        assert "".join(model.stream(clip)) == answer.text


@pytest.mark.parametrize("language", ["de", None])
def test_a_score_is_that_of_the_answer(language: str | None) -> None:
    model = speech_model(replace(SPEECH, language=language))
    answers = model.generate(clips(), allowed=("in 3", "hours"))
    scores = model.score(clips(), [answer.text for answer in answers])
    assert scores == pytest.approx([answer.score for answer in answers], abs=1e-9)
    assert model.score([torch.zeros(0)], [""]) == [0.0]


def test_the_language_is_the_most_probable_one_unless_it_is_said() -> None:
    model, said = speech_model(seed=17), speech_model(replace(SPEECH, language="de"), seed=17)
    sources = source_inputs(model, clips(), model.generation)
    free, heard = replace(model.special_tokens, first=()), set()
    each = special_tokens_of(model.input_kind, model.network, sources, model.special_tokens)
    for source, special_tokens in zip(sources, each, strict=True):
        log_p = {id: forced_scores(model.network, [(source.ids, [id])], free)[0] for id in (266, 267)}
        assert special_tokens.first == (max(log_p, key=log_p.__getitem__), 268, 269)
        heard.add(special_tokens.first)
    assert len(heard) == 2
    given = special_tokens_of(said.input_kind, said.network, sources, said.special_tokens)
    assert {special_tokens.first for special_tokens in given} == {(267, 268, 269)}


def test_languages_and_translation_are_chosen() -> None:
    speech = replace(SPEECH, tasks=(("transcribe", 268), ("translate", 264)))
    model = speech_model(speech, seed=17)

    def prompt(**languages: str) -> set[tuple[int, ...]]:
        other = model.speaking(**languages)
        assert other.network is model.network
        sources = source_inputs(other, clips(), other.generation)
        each = special_tokens_of(other.input_kind, other.network, sources, other.special_tokens)
        return {special_tokens.first for special_tokens in each}

    assert prompt(source_language="de") == {(267, 268, 269)} == prompt(source_language="de", target_language="de")
    assert prompt(source_language="de", target_language="en") == {(267, 264, 269)}
    assert prompt(source_language="en", target_language="en") == {(266, 268, 269)}
    assert prompt(target_language="en") == {(266, 264, 269), (267, 264, 269)}
    assert model.speaking("de").generate(clips()) == speech_model(replace(speech, language="de"), seed=17).generate(
        clips()
    )
    with pytest.raises(
        ConfigError, match=r"`source_language` must be a language .* \(2 of them\), but is the text `dee`"
    ):
        model.speaking("dee")
    with pytest.raises(
        ConfigError, match=r"`target_language` must be the language that is spoken \(en\) or en, but is"
    ):
        model.speaking("en", "de")
    with pytest.raises(ConfigError, match="needs a model that can translate"):
        speech_model().speaking("de", "en")


def test_a_length_penalty_leaves_the_prompt_out() -> None:
    answer = speech_model().generate(clips()[0], beam_size=1, max_new_tokens=5)[0]
    assert answer.confidence == pytest.approx(math.exp(answer.score / (len(answer.tokens) + answer.finished)))
    counted, prompt = (
        SearchConfig(SpecialTokens(0, 1, 2, (3, 4))),
        SearchConfig(SpecialTokens(0, 1, 2, (3, 4), prompt=True)),
    )
    assert (counted.length_divisor(7), prompt.length_divisor(7), prompt.length_divisor(1)) == (7, 5, 1)


def test_an_empty_clip_has_an_empty_answer() -> None:
    empty, other = speech_model().generate([torch.zeros(0), clips()[0]])
    assert (empty.text, empty.score) == ("", 0.0) and other.text


def test_what_must_not_begin_an_answer_may_stand_in_it() -> None:
    model = speech_model()
    usual = speech_model(replace(SPEECH, never_first_ids=())).generate(clips(), beam_size=1)
    begin = usual[0].tokens[:1]
    banned = next(id for id in range(260) if model.tokenizer.pieces([id]) == begin)
    found = speech_model(replace(SPEECH, never_first_ids=(banned,))).generate(clips(), beam_size=1)
    assert all(answer.tokens[:1] != begin for answer in found)
    assert any(begin[0] in answer.tokens for answer in found)


def test_what_is_longer_than_the_model_hears() -> None:
    model, long = speech_model(), torch.cat(clips())
    with pytest.raises(DataError, match=r"input 4 must have at most 1 seconds, .* but has 3\.03\. Cut it, or set"):
        model.generate([long], first_row=3)
    assert model.generate(long, overflow="truncate") == model.generate(long[:1000])
    parts = model.generate(list(long.split(1000)))
    whole = model.generate(long, overflow="split")[0]
    assert len(parts) == 4 and whole.finished == all(part.finished for part in parts)
    with pytest.raises(ConfigError, match="`overflow` needs a model with timestamps, but this one has none"):
        speech_model(replace(SPEECH, untimed_id=None)).generate(long, overflow="window")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("in 3 hours", "is the text `in 3 hours`, which names no file: the model does not read text"),
        ("a" * 5000, "is the text `aaa.*which names no file: the model does not read text"),
        ("a\0b", "is the text .*which names no file: the model does not read text"),
        (torch.zeros(2, 9), r"has shape \(2, 9\) and type torch.float32"),
        (numpy.zeros((2, 9), dtype=numpy.int16), r"has shape \(2, 9\) and type torch.int16"),
        (numpy.zeros(9, dtype=numpy.uint8), r"has shape \(9,\) and type torch.uint8"),
        ({"array": [0.1], "rate": 1000}, "is a mapping"),
        (torch.tensor([0.0, float("nan")]), "has samples that are infinite or not a number"),
        ({"a": 1}, "is a mapping"),
        (None, "is empty"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(value: object, said: str) -> None:
    with pytest.raises(DataError, match=f"`texts` must be sound, but number 2 {said}") as error:
        speech_model().generate([clips()[0], value])
    assert "\n" not in str(error.value) and "1000 samples a second" in str(error.value)


@pytest.mark.parametrize("value", [Path("gone.wav"), "gone.wav", "nope.MP3", Path("gone")])
def test_a_recording_that_is_not_there_is_named(value: str | Path) -> None:
    with pytest.raises(DataError) as error:
        speech_model().generate([clips()[0], value])
    assert str(error.value) == f"`{value}` must be sound, but there is no such file. Check the path."


@pytest.mark.parametrize("name", ["fake.mp3", "fake.wav", "fake.txt", "fake"])
def test_a_file_that_is_no_sound_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not sound")
    for value in (str(tmp_path / name), tmp_path / name):
        with pytest.raises(DataError, match=rf"^`.*{name}` must be a .wav, .flac, .ogg or .mp3 file, but begins with"):
            speech_model().generate(value)
    with pytest.raises(DataError, match=r"must be sound, but is a folder\. Give the files in it"):
        speech_model().generate(str(tmp_path))


def test_whole_numbers_and_mappings_are_heard_as_floats_are(tmp_path: Path) -> None:
    model = speech_model()
    numbers = [(clip * 2**15).short() for clip in clips()]
    wanted = model.generate([row.float() / 2**15 for row in numbers])
    assert len({answer.text for answer in wanted}) > 1
    assert model.generate(numbers) == model.generate([row.numpy() for row in numbers]) == wanted
    assert model.generate([row.int() * 2**16 for row in numbers]) == wanted
    for key in ("array", "raw"):
        rows = [{key: row.numpy(), "sampling_rate": 1000, "path": None} for row in numbers]
        assert model.generate(rows) == wanted
        assert model.generate(rows[0])[0].tokens == wanted[0].tokens
        with pytest.raises(DataError, match="has a `sampling_rate` that must be a number from 1,000 to 1,048,576"):
            model.generate({**rows[0], "sampling_rate": 0})


def test_a_clip_that_is_a_little_too_long_is_told_with_digits_that_say_so() -> None:
    with pytest.raises(DataError, match=r"must have at most 1 seconds, .* but has 1\.001\. Cut it"):
        speech_model().generate(torch.zeros(1001))


def test_a_model_that_reads_refuses_sound() -> None:
    model = speech_model()
    assert model.parts.model.family is not None
    family = replace(model.parts.model.family, speech=None, key_bias=True)
    config = replace(model.parts.model, family=family)
    network = build_network(config, AttentionConfig(), source_vocab=270, target_vocab=270, shared=True)
    reader = Model.from_parts(replace(model.parts, network=network, model=config))
    for value in (clips()[0], [clips()[0]], Path("a.wav"), numpy.zeros(3)):
        with pytest.raises(DataError, match=r"This model reads text, not speech\."):
            reader.generate(value)
    with pytest.raises(ConfigError, match="needs a tokenizer that knows languages, but this one has none"):
        reader.speaking("de")


def test_maps_are_below_the_spectrogram() -> None:
    model = speech_model()
    for given in ({}, {"target": "in 3 hours"}):
        maps = model.attention(clips()[0], **given)
        assert maps.cross is not None and maps.picture is not None and maps.picture.beneath
        positions = model.input_kind.speech.positions
        assert maps.cross.shape[-1] == len(maps.picture.boxes) == positions
        assert maps.picture.pixels.shape[1:] == (5, model.input_kind.speech.frames)
        assert maps.source_tokens[:2] == ["0.00 s", "0.25 s"] and "attention below a spectrogram" in maps._repr_html_()
    with pytest.raises(DataError, match="must have at most 1 seconds"):
        model.attention(torch.zeros(1001))
    assert model.attention(torch.zeros(1001), overflow="truncate").picture is not None


def test_saved_and_loaded_it_answers_the_same(tmp_path: Path) -> None:
    model = speech_model()
    model.network.float()
    wanted = model.generate(clips())
    model.save(tmp_path / "own")
    model.save(tmp_path / "theirs", format="huggingface")
    for name in ("own", "theirs"):
        again = antiphon.load(tmp_path / name, device="cpu")
        assert again.special_tokens == model.special_tokens and again.generation == model.generation
        assert again.generate(clips()) == wanted
    assert [
        answer.text for answer in antiphon.load([tmp_path / "own", tmp_path / "own"], device="cpu").generate(clips())
    ] == [answer.text for answer in wanted]


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = replace(SPEECH, sampling_rate=16000, hop=2000, window=400, tasks=(("transcribe", 268), ("translate", 264)))
    speech_model(speech).save(tmp_path / "whisper-tiny", format="huggingface")
    write_wav(tmp_path / "hello.wav", [0, 99, -99] * 3000)
    page = (Path(__file__).resolve().parents[2] / "docs" / "pretrained.md").read_text(encoding="utf-8")
    (code,) = re.findall(
        r"^```python\n(.*?)^```", page.partition("## Audio")[2].partition("\n## ")[0], re.DOTALL | re.MULTILINE
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/pretrained.md", "exec"), names)
    assert names["samples"].shape == (16000,) and len(names["model"].generate(["hello.wav", names["samples"]])) == 2
    assert names["model"].speaking("de", "en").input_kind.speech.task == "translate"
