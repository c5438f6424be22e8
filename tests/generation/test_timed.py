"""Answers to speech with timestamps, from files to segments; that they are transformers' is tests/parity/."""

from __future__ import annotations

import itertools
import json
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from generation.test_speech import SPEECH, clips, speech_model
from inputs.test_sound import write_wav

from antiphon.errors import ConfigError, DataError
from antiphon.generation.model import Model
from antiphon.generation.timed.segments import split
from antiphon.generation.timed.subtitles import subtitles
from antiphon.generation.timed.windows import WindowedAnswer
from antiphon.generation.timed.words import token_steps, warped
from antiphon.inputs.recordings import Recording
from antiphon.inputs.sounds.stored import StoredSound
from antiphon.text import train_tokenizer

TIMED = replace(SPEECH, tasks=(("transcribe", 268),), untimed_id=269, previous_id=264, never_first_ids=())


def timed_model(**changes: Any) -> Model:
    """A random model of one second at a time whose ids from 270 on are the timestamps 0.00, 0.25, ... 1.00."""
    return speech_model(replace(TIMED, **changes), vocab=275)


def long_clip(length: int = 3333) -> torch.Tensor:
    return 0.5 * torch.randn(length, generator=torch.Generator().manual_seed(3))


def test_long_files_and_arrays_are_answered_alike_alone_and_in_batches_and_streamed(tmp_path: Path) -> None:
    model, numbers = timed_model(), (long_clip() * 2**13).short()
    file = write_wav(tmp_path / "long.wav", numbers.tolist(), rate=1000)
    assert isinstance(model.input_kind.read(file, "texts")[0], StoredSound)
    inputs = [file, *clips()]
    for settings in ({}, {"timestamps": "words"}, {"timestamps": "segments", "previous_text": True, "beam_size": 1}):
        given = {"overflow": "window", **settings}
        answers = model.generate(inputs, **given)
        again = model.generate(numbers, **given)[0]
        assert (answers[0].text, answers[0].segments) == (again.text, again.segments)
        for row, (clip, answer) in enumerate(zip(inputs, answers, strict=True)):
            alone = model.generate(clip, first_row=row, **given)[0]
            assert (alone.text, alone.segments) == (answer.text, answer.segments)
            assert "".join(model.stream(clip, **given)) == answer.text
        segments = answers[0].segments
        assert segments and answers[0].language in ("en", "de")
        assert all(0 <= one.start <= one.end for one in segments)
        assert [one.start for one in segments] == sorted(one.start for one in segments)
        assert (answers[1].segments is None) == (not settings)  # a short one has timestamps if they are asked for
        assert json.loads(json.dumps(answers[0].as_json()))["segments"][0]["text"] == segments[0].text
        if settings.get("timestamps") == "words":
            assert all(one.words and one.words[0].start <= one.words[-1].end for one in segments)
            joined = "".join(word.text for one in segments for word in one.words or ())
            assert joined == "".join("".join(one.text.split()) for one in segments)


def test_an_empty_clip_and_a_clip_that_is_too_long(tmp_path: Path) -> None:
    model = timed_model()
    (empty,) = model.generate(torch.zeros(0), timestamps="segments")
    assert (empty.text, empty.segments) == ("", None)
    with pytest.raises(DataError, match=r"at most 1 seconds.*set `overflow` to truncate, split or window"):
        model.generate(long_clip(), timestamps="segments")
    whole, cut = (
        model.generate(clip, timestamps="segments", overflow="truncate") for clip in (long_clip(), long_clip()[:1000])
    )
    assert whole == cut
    file = write_wav(tmp_path / "long.wav", [0] * 1001, rate=1000)
    with pytest.raises(DataError, match=r"^input 2 \(`.*long\.wav`\) must have at most 1 seconds"):
        model.generate([torch.zeros(9), file])
    with pytest.raises(DataError, match="at most 1 seconds"):
        model.score([long_clip()], ["a"], overflow="window")


def test_a_rejected_answer_is_sampled_again_and_silence_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = timed_model(), []
    request = WindowedAnswer.request

    def kept(self: WindowedAnswer) -> Any:
        found = request(self)
        asked.append((found[1].temperature, found[0].piece, len(found[2].first)))
        return found

    monkeypatch.setattr(WindowedAnswer, "request", kept)
    given = {"overflow": "window", "timestamps": "segments", "previous_text": True}
    retried = {**given, "fallback_temperatures": (0.5, 1.0), "log_probability_threshold": -1e-9}
    answer = model.generate(long_clip(2500), **retried)[0]
    assert {segment.temperature for segment in answer.segments or ()} == {1.0}
    temperatures = [each for each, _, _ in asked]
    assert len(temperatures) >= 9 and temperatures == [None, 0.5, 1.0] * (len(temperatures) // 3)
    assert len({piece for _, piece, _ in asked}) == len(asked)  # each attempt has random numbers of its own
    assert len({length for _, _, length in asked}) == 1  # the text of a window sampled at 1.0 is not read
    assert answer == model.generate(long_clip(2500), **retried)[0]
    asked.clear()
    assert model.generate(long_clip(2500), **given, compression_ratio_threshold=1e9)[0].segments
    assert len({length for _, _, length in asked}) > 1 and {each for each, _, _ in asked} == {None}
    (silent,) = model.generate(long_clip(), **given, no_speech_threshold=0.0)
    assert (silent.text, silent.segments, silent.finished) == ("", [], True)
    loud = model.generate(long_clip(), **given, no_speech_threshold=0.0, log_probability_threshold=-1e9)[0]
    assert loud.segments and all(each.no_speech_probability is not None for each in loud.segments)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"previous_text": True}, "`previous_text` needs `timestamps` or `overflow` window, but neither is set"),
        (
            {"timestamps": "words", "overflow": "split"},
            "`overflow` must be error, truncate or window with `timestamps`",
        ),
        ({"timestamps": "words", "prefix": "in"}, "`prefix` cannot be set beside timestamps or windows, but is"),
        ({"timestamps": "words", "n_best": 2}, "`n_best` must be 1 with timestamps or windows, but is 2"),
        ({"timestamps": "word"}, "`timestamps` must be one of none, segments, words"),
        ({"no_speech_threshold": 1.5}, "`no_speech_threshold` must be at least 0 and at most 1"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        timed_model().generate(clips(), **settings)


def test_a_model_without_timestamps_says_so() -> None:
    for settings in ({"timestamps": "segments"}, {"overflow": "window"}):
        with pytest.raises(ConfigError, match=f"`{next(iter(settings))}` needs a model with timestamps"):
            timed_model(untimed_id=None).generate(clips(), **settings)
        with pytest.raises(ConfigError, match=f"`{next(iter(settings))}` needs a model with timestamps"):
            speech_model(TIMED).generate(long_clip(), **{"overflow": "truncate", **settings})
    with pytest.raises(ConfigError, match="`previous_text` needs a model that reads it"):
        timed_model(previous_id=None).generate(clips(), timestamps="segments", previous_text=True)
    with pytest.raises(ConfigError, match="`prompt` needs a model that reads earlier text"):
        timed_model(previous_id=None).generate(clips(), timestamps="segments", prompt="in")


def test_a_prompt_is_read_before_the_windows_and_is_no_part_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = timed_model(), []
    request = WindowedAnswer.request

    def noted(self: WindowedAnswer) -> Any:
        found = request(self)
        read.append((found[0].row, found[2].start, found[2].first))
        return found

    monkeypatch.setattr(WindowedAnswer, "request", noted)
    given = {"overflow": "window", "timestamps": "segments", "beam_size": 1}
    usual = model.generate(long_clip(), **given)[0]
    prompts = ("in 3 hours", "", None)
    read.clear()
    found = model.generate([long_clip()] * 3, **given, prompt=prompts)
    ids = tuple(model.target_tokenizer.bare(model.target_tokenizer.encode(" in 3 hours")))
    assert {(start, first[: len(ids)]) for row, start, first in read if row == 0} == {(264, ids)}
    assert found[1].tokens == found[2].tokens == usual.tokens != found[0].tokens
    assert not found[0].text.startswith("in 3 hours") and found[0].segments
    assert found[0].tokens == model.generate(long_clip(), **given, prompt="in 3 hours ")[0].tokens
    with pytest.raises(ConfigError, match="`prompt` must be one text, or one for each of the 1 inputs, but has 2"):
        model.generate(long_clip(), **given, prompt=("a", "b"))


def test_segments_of_tokens() -> None:
    def spans(*ids: int) -> tuple[list[tuple[int, ...]], int]:
        found, step = split(ids, first_timestamp=100, frames=60, step_seconds=0.02)
        return [tuple(span) for span in found], step

    assert spans(100, 1, 105, 105, 2, 3, 110) == ([(0, 3, 0, 5), (3, 7, 5, 10)], 60)
    assert spans(100, 1, 105, 105, 2) == ([(0, 4, 0, 5)], 10)  # the second segment has no end, so a window begins there
    assert spans(100, 1, 105, 106) == ([(0, 4, 0, 5)], 10)
    assert spans(101, 1, 105) == ([(0, 3, 0, 5)], 60)
    assert spans(1, 2)[1] == 60 and spans()[0] == [(0, 0, 0, 29)]


def test_the_cheapest_path() -> None:
    """The path's cost is the least over all monotonic paths, by dynamic programming without a trace."""
    generator = torch.Generator().manual_seed(0)
    for rows, columns in ((1, 1), (1, 5), (4, 1), (3, 7), (6, 6), (9, 4)):
        costs = torch.rand(rows, columns, generator=generator, dtype=torch.float64)
        path, best = warped(costs), costs.clone()
        for i in range(rows):
            for j in range(columns):
                before = [best[i - a, j - b] for a, b in ((1, 1), (1, 0), (0, 1)) if i >= a and j >= b]
                best[i, j] += min(before) if before else 0
        assert path[0] == (0, 0) and path[-1] == (rows - 1, columns - 1)
        assert all((c - a, d - b) in ((0, 1), (1, 0), (1, 1)) for (a, b), (c, d) in itertools.pairwise(path))
        assert sum(costs[place] for place in path) == pytest.approx(float(best[-1, -1]))
    weights = torch.zeros(1, 3, 9)
    weights[0, 0, :3] = weights[0, 1, 3:5] = weights[0, 2, 5:] = 1
    assert token_steps(weights, median_width=1) == [0, 3, 5]


def test_a_window_is_read_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.inputs.sounds.files._BLOCK", 1000)
    speech, numbers = timed_model().input_kind.speech, (long_clip(200_000) * 2**13).short()
    file = write_wav(tmp_path / "long.wav", numbers.tolist(), rate=1000)
    stored = StoredSound(lambda: file.open("rb"), "`long.wav`", sampling_rate=1000)
    assert len(stored) == 200_000
    whole = Recording(numbers.float() / 2**15, speech)
    tracemalloc.start()
    windows = [Recording(stored, speech).window(place) for place in (0, 3, 799, 1597)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000  # bytes that Python holds: less than the file
    for place, window in zip((0, 3, 799, 1597), windows, strict=True):
        assert window.shape == (8, 5) and torch.allclose(window, whole.window(place), atol=1e-6)


def test_subtitles() -> None:
    segments = [
        {"start": 0.0, "end": 2.4, "text": "a <b> & c"},
        {"start": 3599.999, "end": 3723.04, "text": "x\n-->\n\ny"},
    ]
    assert subtitles(segments, ".srt") == (
        "1\n00:00:00,000 --> 00:00:02,400\na <b> & c\n\n2\n00:59:59,999 --> 01:02:03,040\nx -> y\n\n"
    )
    assert subtitles(segments, ".vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.400\na &lt;b&gt; &amp; c\n\n00:59:59.999 --> 01:02:03.040\nx -&gt; y\n\n"
    )


def test_a_model_of_text_refuses_the_settings() -> None:
    tokenizer = train_tokenizer(["in 3 hours"], kind="bytes", vocab_size=260)
    assert tokenizer.vocab_size  # only its kind of input is asked
    from antiphon.config import GenerationConfig
    from antiphon.inputs import input_kind

    kind = input_kind(None, None).with_tokenizer(tokenizer)
    assert kind.recordings(["a"], config=GenerationConfig()) == [None]
    with pytest.raises(ConfigError, match="`no_speech_threshold` needs a speech model with timestamps, but is"):
        kind.recordings(["a"], config=GenerationConfig(no_speech_threshold=0.5))


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = timed_model()
    model.network.float()
    model.save(tmp_path / "whisper-tiny")
    write_wav(tmp_path / "talk.wav", (long_clip() * 2**13).int().tolist(), rate=1000)
    page = (Path(__file__).resolve().parents[2] / "docs" / "speech.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/speech.md", "exec"), {})
    assert "Word(text=" in capsys.readouterr().out
