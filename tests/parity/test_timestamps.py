"""Whisper's timestamps against transformers': rules, segments, windows, thresholds, the times of tokens and words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from counts import count
from parity import whisper
from torture.figures import FigureRecorder
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor
from transformers.models.whisper.tokenization_whisper import _combine_tokens_into_words

from antiphon.config import GenerationConfig
from antiphon.generation.model import Model
from antiphon.generation.timed.windows import WindowedAnswer
from antiphon.generation.timed.words import words_of
from antiphon.inputs.recordings import Recording
from antiphon.inputs.speech import SpeechInput
from antiphon.models.folders.hub import load_pretrained
from antiphon.search import engine
from antiphon.search.next_token.logits_processors import DecodedTokens
from antiphon.search.next_token.timestamp_rules import TimestampRules
from antiphon.search.special_tokens import TimestampIds
from antiphon.settings import override

SEEDS = range(count("timestamps"))
SEARCHES = (
    ({}, {}), ({"num_beams": 3}, {"beam_size": 3}), ({"condition_on_prev_tokens": True}, {"previous_text": True}),
    ({"max_new_tokens": 6}, {"max_new_tokens": 6}),
)  # fmt: skip


def answered(model: Model, recording: Recording, config: GenerationConfig, *, prompt: str = "") -> WindowedAnswer:
    """The answer to a recording by a model, window by window."""
    answer = WindowedAnswer(model, recording, config, row=0, prompt=prompt)
    while not answer.finished:
        source, settings, tokens = answer.request()
        answer.take(engine.answer(model.network, [source], settings, tokens)[0])
    return answer


def spans(answer: WindowedAnswer) -> list[tuple[float, float, list[int]]]:
    """All segments: their times and tokens."""
    step = answer.speech.step_seconds
    return [
        (window.offset + span.start * step, window.offset + span.end * step, window.ids[span.first : span.stop])
        for window in answer.windows
        for span in window.spans
    ]


class Pair:
    """A random model of both libraries, a clip, and its features in theirs."""

    def __init__(self, seed: int, folder: Path, *, long: bool) -> None:
        self.theirs = whisper.make_timed(seed, folder).double()
        self.model = Model.from_parts(load_pretrained(folder, dtype=torch.float64))
        assert isinstance(self.model.input_kind, SpeechInput)
        self.speech = self.model.input_kind.speech
        generator = torch.Generator().manual_seed(seed)
        length = int(self.speech.samples * 1.8) + 37 if long else self.speech.samples // 2
        clip = 0.3 * torch.randn(length, generator=generator) * torch.linspace(0.1, 1, length)
        extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
        padding = {"truncation": False, "padding": "longest" if long else "max_length"}
        made = extractor(clip.numpy(), sampling_rate=16000, return_tensors="pt", return_attention_mask=True, **padding)
        self.features, self.mask = made["input_features"], made["attention_mask"]
        self.recording = Recording(clip, self.speech)

    def generate(self, **settings: Any) -> list[dict[str, Any]]:
        """The segments of transformers."""
        step = self.speech.step_seconds
        found = self.theirs.generate(
            input_features=self.features.double(), return_timestamps=True, return_segments=True,
            time_precision=step, time_precision_features=step / 2, **settings,
        )  # fmt: skip
        return found["segments"][0]

    def answer(self, *, prompt: str = "", **settings: Any) -> WindowedAnswer:
        usual = {"beam_size": 1, "timestamps": "segments", "overflow": "window"}
        return answered(
            self.model, self.recording, override(self.model.generation, {**usual, **settings}), prompt=prompt
        )


def same(found: list[tuple[float, float, list[int]]], wanted: list[dict[str, Any]]) -> bool:
    theirs = [(each["start"], each["end"], each["tokens"].tolist()) for each in wanted]
    times = all(
        abs(float(a - b)) < 1e-4
        for one, other in zip(found, theirs, strict=True)
        for a, b in zip(one[:2], other[:2], strict=True)
    )
    return times and [each[2] for each in found] == [each[2] for each in theirs]


@pytest.mark.parametrize("latest", [None, 0, 3])
def test_the_rules(latest: int | None) -> None:
    generator, first, end, size = torch.Generator().manual_seed(0), 20, 15, 40
    for trial in range(100):
        prompt, length, rows = trial % 3, trial % 7, 4
        answers = torch.randint(0, end, (rows, length), generator=generator)
        times = torch.randint(first, size, (rows, length), generator=generator).sort(1).values
        answers = torch.where(torch.rand((rows, length), generator=generator) < 0.5, times, answers)
        history = torch.cat([torch.randint(0, size, (rows, prompt), generator=generator), answers], 1)
        scores = (3 * torch.randn((rows, size), generator=generator)).double().log_softmax(-1)
        settings = SimpleNamespace(
            no_timestamps_token_id=first - 1, eos_token_id=end, bos_token_id=end, max_initial_timestamp_index=latest
        )
        theirs = WhisperTimeStampLogitsProcessor(settings, begin_index=1 + prompt)
        wanted = theirs(torch.cat([torch.zeros(rows, 1, dtype=torch.long), history], 1), scores)
        ours = TimestampRules(TimestampIds(first, first - 1, latest), end=end, position=prompt)
        assert torch.equal(wanted, ours(scores, DecodedTokens(history, torch.full((rows,), prompt))))


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_windows_and_segments(seed: int, long: bool, tmp_path: Path, figures: FigureRecorder) -> None:
    pair = Pair(seed, tmp_path, long=long)
    assert pair.features.shape[2] == pair.recording.frames
    window, wanted = pair.recording.window(0), pair.features[0].T[: pair.speech.frames]
    assert float((window - wanted).abs().max()) < 1e-5
    for theirs, ours in SEARCHES:
        more = {"early_stopping": "never"} if "num_beams" in theirs else {}
        assert same(spans(pair.answer(**ours)), pair.generate(**theirs, **more)), theirs
    figures.add("timestamp configs", 1)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_prompt(seed: int, long: bool, tmp_path: Path) -> None:
    """Their `prompt_ids`: before each window, or in front of the text of the windows before."""
    pair = Pair(seed, tmp_path, long=long)
    reference = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    text = ["ja", " no one", "a"][seed % 3]
    ids = [whisper.TRANSLATE, *reference.encode(" " + text.strip(), add_special_tokens=False)]
    for theirs, ours in SEARCHES[:3]:
        more = {"early_stopping": "never"} if "num_beams" in theirs else {}
        wanted = pair.generate(**theirs, **more, prompt_ids=torch.tensor(ids))
        found = pair.answer(prompt=text, **ours)
        assert found._tokens_of_window().first[: len(ids) - 1] == tuple(ids[1:]) or ours.get("previous_text")
        assert same(spans(found), wanted), theirs


@pytest.mark.parametrize("seed", SEEDS)
def test_thresholds(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three measures of each window, and the windows that are passed over as silence."""
    pair, found = Pair(seed, tmp_path, long=True), {}
    for name in ("_retrieve_avg_logprobs", "_retrieve_compression_ratio"):
        own = getattr(transformers.WhisperForConditionalGeneration, name)
        values = found.setdefault(name, [])

        def kept(*args: Any, own: Any = own, values: list[float] = values) -> Any:
            values.append(float(own(*args)))
            return values[-1]

        monkeypatch.setattr(transformers.WhisperForConditionalGeneration, name, staticmethod(kept))
    asked = {"logprob_threshold": -1e9, "compression_ratio_threshold": 1e9, "no_speech_threshold": 1.0}
    pair.generate(**asked, return_dict_in_generate=True, temperature=(0.0,))
    answer = pair.answer(log_probability_threshold=-1e9, compression_ratio_threshold=1e9, no_speech_threshold=1.0)
    measures = [window.measures for window in answer.windows]
    log_p = [each["log_probability"] for each in measures]
    assert log_p == pytest.approx(found["_retrieve_avg_logprobs"], abs=1e-5)
    assert [each["compression_ratio"] for each in measures] == found["_retrieve_compression_ratio"]
    silent = sorted(each["no_speech_probability"] for each in measures)
    for level in (silent[0] - 1e-6, silent[len(silent) // 2] - 1e-6):  # theirs are computed in float32
        asked = {"logprob_threshold": -1e-9, "no_speech_threshold": level}
        wanted = pair.generate(**asked, return_dict_in_generate=True, temperature=(0.0,))
        mine = pair.answer(log_probability_threshold=-1e-9, no_speech_threshold=level)
        assert same(spans(mine), wanted), level


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_times_of_tokens(seed: int, long: bool, tmp_path: Path) -> None:
    pair = Pair(seed, tmp_path, long=long)
    for beams in (1, 3):
        more = {"num_beams": beams, "early_stopping": "never"} if beams > 1 else {}
        wanted = pair.generate(**more, return_token_timestamps=True, attention_mask=pair.mask)
        answer = pair.answer(beam_size=beams, timestamps="words")
        real, place = pair.recording.real_frames, 0
        for window in answer.windows:
            for span in window.spans:
                theirs, place = wanted[place]["token_timestamps"].tolist(), place + 1
                assert window.times is not None
                ends = (end for _, end in window.times[span.first : span.stop])
                # Theirs are always steps of 0.02 s, whatever the rate of frames.
                mine = [window.offset + (end - window.offset) / pair.speech.step_seconds * 0.02 for end in ends]
                sounds = real - window.offset * 16000 / pair.speech.hop
                if sounds >= 20 and len(window.hypothesis.ids) > 2:  # they divide by zero for a single token
                    assert mine == pytest.approx(theirs, abs=1e-3)


def test_tokens_to_words(tmp_path: Path) -> None:
    whisper.make_timed(0, tmp_path)
    model = Model.from_parts(load_pretrained(tmp_path))
    reference = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))

    class Decoder(SimpleNamespace):
        def decode(self, ids: list[int], **_: object) -> str:
            return reference.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    texts = (' in 3 hours, "he" said.', "one", " Ça coûte 3 €!", " ¿Qué? (no)", "日本語 です。", " a-b - c", "", "!")
    for text in texts:
        ids = model.tokenizer.alone(text)
        times = [(float(place), place + 1.0) for place in range(len(ids))]
        for language, spaced in (("english", True), ("japanese", False)):
            theirs = _combine_tokens_into_words(Decoder(eos_token_id=whisper.END, language=None), ids, language)
            wanted = [(word, each[0], each[-1] + 1.0) for word, each in zip(theirs[0], theirs[2], strict=True)]
            found = words_of(model.tokenizer, ids, times, spaced=spaced)
            assert [(word.text, word.start, word.end) for word in found] == wanted, (text, language)
