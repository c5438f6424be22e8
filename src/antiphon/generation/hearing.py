"""How a model is asked about sound: clips to features, and what its answers begin with.

    hearing = SpeechFeatures(family.speech)
    clips = hearing.clips(["hello.wav", samples], "texts")              # samples of each, (N,), float32
    parts = hearing.parts(clips[0], overflow="split", row=0)            # features (F, M) of each 30 seconds

Radford et al. 2022 (Whisper), section 2.3 and figure 1: an answer begins with the language, the task and whether it has
times in it, all as tokens; the language, where it is not said, is the most probable one behind the start token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.config import GenerationConfig
from antiphon.config.speech import SpeechConfig
from antiphon.data.sound import conversion, fit, log_mel, read_wav
from antiphon.errors import ConfigError, DataError
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.runtime.inference import as_rows, evaluating
from antiphon.search import engine
from antiphon.search.hypotheses import Hypothesis
from antiphon.search.special_tokens import SpecialTokens
from antiphon.settings import show
from antiphon.text.kinds import is_media_name

_TOGETHER = 16  # clips whose language is asked for at once


class SpeechFeatures:
    """The ears of a model, as its folder describes them."""

    def __init__(self, speech: SpeechConfig) -> None:
        self.speech, self.languages = speech, dict(speech.languages)

    def clips(self, inputs: object, what: str) -> list[Tensor]:
        """The samples (N,) of one clip or several, each the path of a .wav file or numbers; `what` names them in a
        DataError."""
        one = isinstance(inputs, str | Path | Tensor) or not isinstance(inputs, Sequence | Iterator)
        rows: Iterable[object] = [inputs] if one else inputs  # type: ignore[assignment]
        return [self._clip(value, f"`{what}` must be sound, but number {row + 1}") for row, value in enumerate(rows)]

    def parts(self, clip: Tensor, *, overflow: str, row: int) -> list[Tensor]:
        """Features (F, M) of what of a clip is answered: nothing of an empty one; where it is longer than the model
        hears, its beginning or, plainly cut, all of it, as `overflow` says. DataError where that is an error."""
        speech, most = self.speech, self.speech.samples
        if overflow == "window":
            raise ConfigError("`overflow` must be error, truncate or split for a model that hears, but is window.")
        if len(clip) > most and overflow == "error":
            raise DataError(
                f"input {row + 1} must have at most {speech.seconds} seconds, which the model hears at once, but has "
                f"{_seconds(len(clip), speech)}. Cut it, or set `overflow` to truncate or split."
            )
        pieces = clip.split(most) if len(clip) else ()
        return [self.features(piece) for piece in (pieces if overflow == "split" else pieces[:1])]

    def features(self, samples: Tensor) -> Tensor:
        """Samples, at most as many as the model hears, to features (F, M), float32."""
        speech = self.speech
        return log_mel(
            fit(samples, speech.samples),
            bins=speech.mel_bins,
            window=speech.window,
            hop=speech.hop,
            sampling_rate=speech.sampling_rate,
        )

    def answer(
        self,
        network: EncoderDecoder,
        sources: Sequence[engine.SourceInput],
        config: GenerationConfig,
        marks: SpecialTokens,
    ) -> list[list[Hypothesis]]:
        """What `engine.answer` gives, each source under its own marks."""
        found: list[list[Hypothesis]] = [[] for _ in sources]
        for own, places in _alike(self.marks(network, sources, marks)):
            answers = engine.answer(network, [sources[place] for place in places], config, own)
            for place, hypotheses in zip(places, answers, strict=True):
                found[place] = hypotheses
        return found

    def scores(
        self,
        network: EncoderDecoder,
        clips: Sequence[Tensor],
        targets: Sequence[list[int]],
        marks: SpecialTokens,
        *,
        overflow: str,
    ) -> list[float]:
        """What `engine.forced_scores` gives of targets that end, for samples (N,); 0 for nothing said of nothing."""
        whole = [self.parts(clip, overflow=overflow, row=row) for row, clip in enumerate(clips)]
        sources = [
            engine.SourceInput((parts or [self.features(clip)])[0], row)
            for row, (clip, parts) in enumerate(zip(clips, whole, strict=True))
        ]
        found = [0.0] * len(clips)
        for own, places in _alike(self.marks(network, sources, marks)):
            asked = [place for place in places if whole[place] or len(targets[place]) > 1]
            pairs = [(sources[place].ids, targets[place]) for place in asked]
            for place, score in zip(asked, engine.forced_scores(network, pairs, own), strict=True):
                found[place] = score
        return found

    def marks(
        self, network: EncoderDecoder, sources: Sequence[engine.SourceInput], marks: SpecialTokens
    ) -> list[SpecialTokens]:
        """The marks of each source: answers begin with its language, which the parts of a row have in common."""
        speech = self.speech
        if speech.language is not None or not self.languages:
            id = self.languages.get(speech.language or "")
            return [replace(marks, first=speech.prompt(id))] * len(sources)
        firsts = {source.row: source.ids for source in reversed(sources)}  # the first part of each row
        found = dict(zip(firsts, self._spoken(network, list(firsts.values()), marks.start), strict=True))
        return [replace(marks, first=speech.prompt(found[source.row])) for source in sources]

    def _spoken(self, network: EncoderDecoder, rows: Sequence[Tensor | list[int]], start: int) -> list[int]:
        """The id of the language of each of `rows`, features (F, M); of equally probable ones the lowest."""
        ids = torch.tensor(sorted(self.languages.values()), device=network.device)
        found: list[int] = []
        with evaluating(network):
            for first in range(0, len(rows), _TOGETHER):
                memory = network.encode(*as_rows(rows[first : first + _TOGETHER], network.device))
                begun = ids.new_full((memory.hidden.shape[0], 1), start)
                hidden, _ = network.decode(begun, Tokens(torch.zeros_like(begun[:1])), memory, None)
                found += ids[network.logits(hidden[:, -1])[:, ids].argmax(1)].tolist()
        return found

    def _clip(self, value: object, what: str) -> Tensor:
        """The samples of one clip; `what` begins the message of a DataError."""
        rate = self.speech.sampling_rate
        remedy = (
            f"Give the path of a .wav file, or {rate} samples a second as one row of floats from -1 to 1 or of int16."
        )
        if isinstance(value, str | Path):
            _check_file(value, what, remedy, rate)
            return read_wav(Path(value), sampling_rate=rate)
        if isinstance(value, Mapping) and ({"array", "raw"} & set(value)) and "sampling_rate" in value:
            if value["sampling_rate"] != rate:
                found = show(value["sampling_rate"])
                problem = f"{what} has a `sampling_rate` of {found}, where the model hears {rate} samples a second"
                raise DataError(f"{problem}. Resample it, for a file with {conversion('FILE', rate)}.")
            return self._clip(value["array"] if "array" in value else value["raw"], what)
        try:
            samples = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            raise DataError(f"{what} is {show(value)}. {remedy}") from None
        if samples.dim() == 1 and samples.dtype in (torch.int16, torch.int32):
            samples = samples.double() / -float(torch.iinfo(samples.dtype).min)
        if samples.dim() != 1 or not (samples.is_floating_point() or samples.numel() == 0):
            raise DataError(f"{what} has shape {tuple(samples.shape)} and type {samples.dtype}. {remedy}")
        if not bool(samples.isfinite().all()):
            raise DataError(f"{what} has samples that are infinite or not a number. {remedy}")
        return samples.detach().to("cpu", torch.float32)


def _check_file(value: str | Path, what: str, remedy: str, rate: int) -> None:
    """DataError where `value` is no .wav file: a text, a file that is not there, or one of another format."""
    said = show(value) if isinstance(value, str) else f"`{value}`"
    try:
        there = Path(value).is_file()
    except (OSError, ValueError):  # a text that is too long for a name, or holds a NUL
        there = False
    if there and Path(value).suffix.lower() == ".wav":
        return
    if there:
        raise DataError(f"{what} is {said}, which is no .wav file. Convert it: {conversion(value, rate)}.")
    if isinstance(value, Path) or is_media_name(value):
        raise DataError(f"{what} is {said}, but there is no file {value}. Check the path. {remedy}")
    raise DataError(f"{what} is {said}, which is no .wav file: a model that hears does not read. {remedy}")


def _seconds(samples: int, speech: SpeechConfig) -> str:
    """The seconds of a clip that is too long, with as many digits as show that it is."""
    seconds = samples / speech.sampling_rate
    digits = next((digits for digits in range(2, 8) if round(seconds, digits) > speech.seconds), 8)
    return f"{seconds:.{digits}f}"


def _alike(each: Sequence[SpecialTokens]) -> Iterator[tuple[SpecialTokens, list[int]]]:
    """The different ones of `each`, with their places."""
    for own in dict.fromkeys(each):
        yield own, [place for place, other in enumerate(each) if other == own]
