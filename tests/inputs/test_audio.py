"""Sound as input of a model of one's own: lengths, features, training, answers, folders, and what is refused."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
import transformers
from inputs.sounds import encoded, tone
from torch import Tensor

import antiphon
from antiphon.batch import Example, LazyFeatures, collate
from antiphon.config import AttentionConfig, AudioConfig, GenerationConfig, ModelConfig
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.generation.model import Model
from antiphon.inputs import AudioInput
from antiphon.inputs.sounds.augmentations import Speed
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts
from antiphon.models.folders.hub import save_pretrained
from antiphon.text import train_tokenizer

SMALL = {"mel_bins": 8, "sampling_rate": 8000, "seconds": 1.5}
FRONTS = {
    "log_mel": SMALL,
    "filter_banks": {**SMALL, "features": "filter_banks", "normalize": True, "kernels": [5], "strides": [3],
                     "activations": ["glu"], "scale": True},
    "samples": {**SMALL, "features": "samples", "window": 50, "hop": 20, "kernels": [1, 4, 3], "strides": [1, 3, 2],
                "channels": [8, 6], "activations": ["tanh_norm", "glu", "silu"], "padding": False},
}  # fmt: skip


def model_of(
    front: dict[str, object], *, positions: str = "sinusoidal", attention: object = "full", ctc: bool = False
) -> Model:
    tokenizer = train_tokenizer(["in 3 hours"], kind="bytes", vocab_size=260)
    config = ModelConfig(
        preset="tiny", d_model=16, num_heads=2, ffn_dim=20, encoder_layers=1, decoder_layers=1, dropout=0.0,
        max_length=24, positions=positions, ctc=ctc, input={"audio": front},  # type: ignore[arg-type]
    )  # fmt: skip
    roles = AttentionConfig(encoder=attention)
    size = tokenizer.vocab_size
    network = build_network(config, roles, source_vocab=size, target_vocab=size, shared=False, seed=3)
    for parameter in network.parameters():
        parameter.data.mul_(2.0)  # so that answers differ
    search = GenerationConfig(beam_size=2, max_new_tokens=5)
    return Model.from_parts(Parts(network.eval(), config, roles, tokenizer, tokenizer, "text", search))


def clips() -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [0.3 * torch.randn(samples, generator=generator) for samples in (3000, 12000, 1)]


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary"])
@pytest.mark.parametrize("front", FRONTS)
def test_a_clip_is_answered_alike_alone_in_a_batch_in_a_stream_and_from_a_folder(
    front: str, positions: str, tmp_path: Path
) -> None:
    model = model_of(FRONTS[front], positions=positions)
    answers = model.generate(clips())
    for clip, answer in zip(clips(), answers, strict=True):
        alone = model.generate(clip)[0]
        assert (alone.text, alone.score) == (answer.text, pytest.approx(answer.score, abs=1e-4))
        assert "".join(model.stream(clip)) == answer.text
    model.save(tmp_path / "model")
    again = antiphon.load(tmp_path / "model", device="cpu")
    assert again.generate(clips()) == answers and again.input_kind == model.input_kind


def test_lengths_from_heads_are_the_frames_of_features() -> None:
    for front in FRONTS.values():
        kind = model_of(front).input_kind
        assert isinstance(kind, AudioInput)
        for samples, rate in ((1, 8000), (399, 8000), (12000, 8000), (3000, 44100)):
            file = io.BytesIO(encoded(tone(samples, rate=rate), rate=rate))
            length, row = kind.measure(file, "`a`"), kind.load(file, "`a`")
            assert kind.features(row).shape == (length, kind.audio.width)
            assert kind.audio.positions(length) >= 1


@pytest.mark.parametrize("attention", ["full", {"window": 4}, "alibi", "additive", "linear"])
def test_a_model_learns_which_clip_it_hears_under_any_attention(attention: object) -> None:
    model = model_of(SMALL, positions="none" if attention == "alibi" else "sinusoidal", attention=attention)
    kind, network = model.input_kind, model.network
    rows = [tone(4000, rate=8000, hertz=hertz) for hertz in (200, 2000)]
    lazy = [LazyFeatures(kind.audio.frames(len(row)), lambda row=row: kind.features(row)) for row in rows]
    examples = [Example(source, [70 + i, 2], i) for i, source in enumerate(lazy)]
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = network(collate(examples, pad_id=0, start_id=1))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 < losses[0]


def test_log_mel_is_whispers() -> None:
    generator = torch.Generator().manual_seed(0)
    for samples in (16000, 23456, 1000, 400):
        clip = 0.1 * torch.randn(samples, generator=generator) + tone(samples)
        wanted = transformers.WhisperFeatureExtractor()(
            clip.numpy(), sampling_rate=16000, padding="do_not_pad", return_tensors="pt"
        )["input_features"][0].T
        found = AudioInput(AudioConfig()).features(clip)
        assert found.shape == wanted.shape and float((found - wanted).abs().max()) < 1e-5


def test_files_numbers_bytes_and_other_rates_are_one_recording(tmp_path: Path) -> None:
    model = model_of(SMALL)
    sound = tone(4000, rate=8000)
    content = encoded(sound, rate=8000)
    (tmp_path / "a.wav").write_bytes(content)
    (tmp_path / "b.flac").write_bytes(encoded(sound, rate=8000, format="FLAC"))
    whole = model.input_kind.read(str(tmp_path / "a.wav"), "texts")[0]
    given = [tmp_path / "b.flac", content, whole, whole.tolist(), {"array": whole.numpy(), "sampling_rate": 8000}]
    for rows in (model.input_kind.read(given, "texts"), model.input_kind.read(iter(given), "texts")):
        assert len(rows) == 5 and all(torch.allclose(row, whole, atol=1e-4) for row in rows)
    assert len(model.input_kind.read(whole.tolist(), "texts")) == 1
    twice = model.input_kind.read({"raw": whole, "sampling_rate": 4000}, "texts")[0]
    assert len(twice) == 8000
    assert model.generate([])[0:] == [] and model.generate(torch.zeros(0))[0].text == ""


def test_long_recordings_are_refused_truncated_or_split() -> None:
    model = model_of(SMALL)
    long = torch.cat(clips()[:2])
    with pytest.raises(DataError, match=r"input 1 must have at most 1.5 seconds, the model's limit, but has 1.88"):
        model.generate(long)
    assert model.generate(long, overflow="truncate")[0].text == model.generate(long[:12000])[0].text
    parts = [answer.text for answer in model.generate(list(long.split(12000)))]
    assert all(part in model.generate(long, overflow="split")[0].text for part in parts)
    with pytest.raises(ConfigError, match="`overflow` must be error, truncate or split for a model of sound"):
        model.generate(long, overflow="window")
    with pytest.raises(ConfigError, match="`max_source_tokens` must be left out for a model of sound"):
        model.generate(long, max_source_tokens=3)
    kind = model.input_kind
    with pytest.raises(DataError, match=r"at most 1.5 seconds, the model.s limit, but has 1.5001. Cut it"):
        kind.measure(io.BytesIO(encoded(torch.zeros(12001), rate=8000)), "`a`")
    with pytest.raises(DataError, match="`a` must have sound, but is empty"):
        kind.measure(io.BytesIO(encoded(torch.zeros(0), rate=8000)), "`a`")
    assert len(kind.features(long)) == 150  # longer than any: an augmentation made it so


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("in 3 hours", "`texts` must be sound, but number 1 is the text `in 3 hours`, which names no file"),
        ("nowhere.wav", r"^`nowhere.wav` must be sound, but there is no such file. Check the path.$"),
        (torch.zeros(2, 3), r"number 1 has shape \(2, 3\)"),
        ([torch.zeros(2), torch.tensor([torch.nan])], "number 2 has samples that are infinite or not a number"),
        ({"array": [0.0], "sampling_rate": 0}, "number 1 has a `sampling_rate` that must be a number from 1,000"),
        (b"hello", "recording 1 of `texts` must be a .wav, .flac, .ogg or .mp3 file"),
    ],
)
def test_what_is_no_recording_is_one_clear_line(given: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        model_of(SMALL).generate(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernels": [4, 3]}, "`kernels` must be odd, but are 4, 3. Or set `padding: false`"),
        ({"strides": [2]}, "`strides` must have 2 numbers, as `kernels`, but has 1"),
        ({"channels": [1, 2]}, "`channels` must have 1 numbers, but has 2"),
        ({"activations": ["gelu"] * 3}, "`activations` must be one, or 2, but are 3"),
        ({"features": "samples", "normalize": True}, "`normalize` must be false for samples"),
        ({"kernels": [], "strides": []}, "`kernels` must name at least one convolution, but is empty"),
        ({"seconds": 0.001}, "`seconds` must be at least 0.025, a position, but is 0.001"),
        ({"sampling_rate": 44100, "seconds": 30000}, "`seconds` must be at most 268435456 samples"),
    ],
)
def test_settings_that_do_not_fit_together(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"`(input\.audio\.)?{message[1:]}"):
        ModelConfig(input={"audio": settings})


def test_what_a_model_of_sound_cannot_do_is_said(tmp_path: Path) -> None:
    model = model_of(SMALL)
    assert repr(model.input_kind) == "AudioInput(8000 Hz, log_mel, 1.5 s at most)"
    with pytest.raises(ModelError, match="`input` 'text'"):  # no family of text may leave the sound out
        said = replace(model.parts.model, norm="layer", bias=True, tie_embeddings=True)
        save_pretrained(tmp_path, replace(model.parts, model=said))


@pytest.mark.parametrize("features", ["log_mel", "filter_banks", "samples"])
def test_maps_are_below_the_spectrogram(features: str) -> None:
    model = model_of(FRONTS[features])  # type: ignore[arg-type]
    for clip in (clips()[0], torch.zeros(1)):
        maps = model.attention(clip, "ab")
        assert maps.cross is not None and maps.picture is not None and maps.picture.beneath
        positions = maps.cross.shape[-1]
        assert len(maps.picture.boxes) == len(maps.source_tokens) == positions
        width = maps.picture.pixels.shape[2]
        assert all(box is not None and box.left + box.width <= width for box in maps.picture.boxes)
        assert maps.source_tokens[0] == "0.00 s" and "attention below a spectrogram" in maps._repr_html_()


@pytest.mark.parametrize("features", ["log_mel", "filter_banks", "samples"])
def test_the_bound_of_a_slower_clip_holds(features: str) -> None:
    """No length at the slowest speed has more frames than a batch is planned for."""
    kind = model_of(FRONTS[features]).input_kind  # type: ignore[arg-type]
    assert isinstance(kind, AudioInput)
    for low in (0.25, 0.9, 0.9996):
        speed = Speed(low=low, high=low)
        for samples in (*range(1, 1200, 13), *range(2000, 2161)):
            clip = torch.zeros(samples)
            most = kind.longer(kind.audio.frames(samples), speed.longest)
            assert len(kind.features(speed.of_row(clip, Random(0)))) <= most, (low, samples)
            assert most <= math.ceil((kind.audio.frames(samples) + 4) * speed.longest)  # and is near
    assert kind.longer(7, 1.0) == 7


def test_an_alignment_has_the_times_of_sound() -> None:
    model = model_of(SMALL, ctc=True)
    found = model.ctc_alignment(clips()[0], "ab")
    step = 4 * 0.01  # two convolutions with a stride of 2
    assert found.frame_seconds == pytest.approx(step) and found.times is not None
    assert found.times == [
        (pytest.approx(i * step), pytest.approx(j * step)) for i, j in zip(found.starts, found.ends, strict=True)
    ]
    assert found.times[-1][1] <= found.frames * step and abs(found.frames * step - len(clips()[0]) / 8000) <= step
