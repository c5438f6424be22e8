"""Models of speech, and models that transformers computes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from generation.test_speech import clips
from generation.test_timed import long_clip, timed_model
from inputs.images import picture, stored
from inputs.sounds import encoded
from inputs.test_audio import model_of
from inputs.test_sound import write_wav
from serving.process.tools import DTYPE, Served, collect, same

import antiphon
from antiphon.errors import DataError
from antiphon.generation.answers import Generation
from antiphon.serving.process.messages import ShowAttention
from antiphon.serving.process.settings import ModelEntry
from antiphon.serving.process.worker.engines import engine_of
from antiphon.serving.process.worker.model_info import input_of
from antiphon.serving.process.worker.results import UnreadableFile, maps_as_object, sample_input, source_of
from antiphon.serving.service import BadInput, GenerateCall


def test_recordings_as_bytes(tmp_path: Path) -> None:
    made = timed_model()
    folder = made.save(tmp_path / "speech")
    offline = antiphon.load(folder, dtype=DTYPE)
    numbers = [(clip * 2**15).int().tolist() for clip in clips()]
    files = [write_wav(tmp_path / f"{i}.wav", row, rate=1000) for i, row in enumerate(numbers)]
    served = Served(ModelEntry(name="ear", path=str(folder), dtype=DTYPE)).ready()
    try:
        info = served.service.statuses()[0].info
        assert info is not None and info.input == "speech"
        assert info.source_languages == ("en", "de") and info.limits["max_source_seconds"] == 1
        recordings = [file.read_bytes() for file in files]
        call = GenerateCall(inputs=recordings, stream=True)
        found = served.run(collect(served.service, call))
        wanted = offline.generate(files)
        assert all(same(mine.answer, theirs) for mine, theirs in zip(found, wanted, strict=True))
        long = write_wav(tmp_path / "long.wav", (long_clip() * 2**13).int().tolist(), rate=1000)
        settings = {"overflow": "window", "timestamps": "words", "fallback_temperatures": [0.5]}
        assert info.timestamps
        (timed,) = served.answers([long.read_bytes()], **settings)
        assert timed == offline.generate(long, **settings)[0].as_json()
        scores = served.run(served.service.score(recordings[:2], ["a", "b"]))
        assert scores == pytest.approx(offline.score(files[:2], ["a", "b"]))
        with pytest.raises(
            BadInput, match=r"`inputs` must be the bytes of sound files, which .*, but number 2 is a text"
        ):
            served.answers([recordings[0], str(files[1])])
        for broken in (b"", b"RIFF", recordings[0][:20], b"\0" * 1000, b"fLaC" + b"\0" * 100):
            with pytest.raises(BadInput, match=r"^recording 1 of `inputs` (is empty|must be a \.wav|cannot be read)"):
                served.answers([broken])
        sound = torch.tensor(numbers[0], dtype=torch.int16)
        for format, rate in (("FLAC", 1000), ("WAV", 1000), ("WAV", 2000), ("OGG", 8000), ("MP3", 8000)):
            content = encoded(sound, rate=rate, format=format)
            (tmp_path / "other").write_bytes(content)
            call = GenerateCall(inputs=[content], details=["seconds"])
            (found,) = served.run(collect(served.service, call))
            assert found.answer.pop("seconds") == round(len(sound) / rate, 3)
            assert same(found.answer, offline.generate(tmp_path / "other")[0])
        with pytest.raises(BadInput, match="`source` must be the bytes of sound files"):
            served.run(served.service.attention("a"))
        maps = served.run(served.service.attention(recordings[0], "a"))
        assert maps["source_tokens"] == offline.attention(files[0], "a").source_tokens
    finally:
        served.close()


def test_maps_are_not_served_of_files_that_a_client_names(tmp_path: Path) -> None:
    file = write_wav(tmp_path / "a.wav", [0, 99] * 800, rate=8000)
    for model in (model_of({"mel_bins": 8, "sampling_rate": 8000}), timed_model()):
        with pytest.raises(DataError, match="`source` must be files, which this model reads, but one is a text"):
            maps_as_object(model, ShowAttention(job=1, source=str(file), target="a", settings={}), max_values=10**9)


@pytest.mark.parametrize("kind", ["sound", "images"])
def test_files_of_a_model_that_transformers_computes(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from generation.test_wrapped_media import make

    content = {
        "sound": encoded(torch.arange(-2000, 2000, dtype=torch.int16), rate=8000, format="WAV"),
        "images": stored(picture(16, 16, channels=3)).getvalue(),
    }[kind]
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.warns(UserWarning, match="transformers computes it"):
        model = antiphon.load(make(kind, tmp_path / "model"))
    assert input_of(model) == {"sound": "speech", "images": "image"}[kind]
    with pytest.raises(DataError, match="`inputs` must be files, which this model reads, but one is a text"):
        source_of(model, str(file))
    with pytest.raises(UnreadableFile, match="`inputs`"):
        source_of(model, b"hello")
    engine = engine_of(model)
    for source in (sample_input(model), source_of(model, content)):
        engine.submit(source, row=0, stream=False, settings={"max_new_tokens": 4})
        ((_, answer),) = engine.step()
        assert isinstance(answer, Generation)
    assert answer == model.generate([content], max_new_tokens=4)[0]


def test_a_model_that_transformers_computes(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from generation.test_wrapped import TEXTS, make

    folder = make("mvp", tmp_path / "mvp")
    with pytest.warns(UserWarning, match="transformers computes it"):
        offline = antiphon.load(folder)
    served = Served(ModelEntry(name="theirs", path=str(folder))).ready()
    try:
        settings = [{"beam_size": 1}, {"beam_size": 3, "n_best": 2}, {"temperature": 1.0, "seed": 5}]

        async def all_of_them() -> list[list[dict]]:
            calls = [collect(served.service, GenerateCall(inputs=TEXTS, settings=each)) for each in settings]
            return [[each.answer for each in found] for found in await asyncio.gather(*calls)]

        for each, found in zip(settings, served.run(all_of_them()), strict=True):
            for row, (text, own) in enumerate(zip(TEXTS, found, strict=True)):
                # transformers samples a batch together; here each input alone, so that it depends on its row only
                wanted = offline.generate([text], first_row=row, **each)[0]
                assert own["text"] == wanted.text and own["score"] == pytest.approx(wanted.score, abs=1e-4)
        with pytest.raises(BadInput, match="`required` must be left out for a model that transformers computes"):
            served.answers(["w7"], required=["w8"])
    finally:
        served.close()
