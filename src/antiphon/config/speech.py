"""The settings of speech input: stored in the `config.json` of a model folder, never in a recipe.

    SpeechConfig(mel_bins=80, positions=1500)       # Whisper: 30 s at 16,000 samples a second

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", section 2.2 and figure 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from antiphon.config.ids import Id
from antiphon.registry import nearest
from antiphon.settings import Range, SettingError, Settings, require, show

Names = tuple[tuple[str, Id], ...]
_Place = Annotated[int, Range(low=0, high=1023)]
STRIDE = 2  # frames for each position of the encoder


@dataclass(frozen=True, kw_only=True)
class SpeechConfig(Settings):
    mel_bins: Annotated[int, Range(low=1, high=1024)]
    """Mel bands, the features of a frame."""
    positions: Annotated[int, Range(low=1, high=2**16)]
    """Positions of the encoder, a half of the frames of a clip."""
    sampling_rate: Annotated[int, Range(low=1000, high=2**20)] = 16000
    """Samples a second."""
    window: Annotated[int, Range(low=2, high=2**16)] = 400
    """Samples that a frame is computed from."""
    hop: Annotated[int, Range(low=1, high=2**16)] = 160
    """Samples from one frame to the next."""
    seconds: Annotated[int, Range(low=1, high=3600)] = 30
    """Length of what the model reads at once: shorter recordings are followed by silence."""
    languages: Names = ()
    """The languages of speech, each with its id, which follows the start token."""
    tasks: Names = ()
    """The tasks (transcribe, translate), each with its id."""
    language: str | None = None
    """The spoken language, one of `languages`; none: the model detects it for each clip."""
    task: str | None = None
    """The task, one of `tasks`."""
    untimed_id: Id | None = None
    """The id for answers without timestamps."""
    prompt_ids: tuple[Id, ...] = ()
    """The ids after the start token for models without `languages` and `tasks`."""
    previous_id: Id | None = None
    """The id before the text of earlier windows, if the decoder reads it."""
    never_first_ids: tuple[Id, ...] = ()
    """Ids that no answer begins with."""
    max_first_timestamp: Annotated[int, Range(low=0, high=2**16)] | None = None
    """The latest time, in positions of the encoder, at which the first segment of an answer may begin; none: any."""
    alignment_heads: tuple[tuple[_Place, _Place], ...] = ()
    """Layers and heads of the decoder whose cross-attention gives the times of words; none: those of the upper half of
    the layers."""
    median_width: Annotated[int, Range(low=1, high=255)] = 7
    """Positions of the encoder over which these weights are smoothed, an odd number."""

    def check(self) -> None:
        most = 2**26  # samples of a clip, beyond which a file is broken or hostile
        require(self.samples <= most, "seconds", f"must be at most {most} samples, but are {self.samples}")
        frames = self.samples // self.hop
        problem = f"must be half of the {frames} frames of {self.seconds} seconds, but is {self.positions}"
        require(frames == STRIDE * self.positions, "positions", problem)
        require(self.window // 2 < self.samples, "window", f"must be less than two clips, but is {self.window}")
        require(self.median_width % 2 == 1, "median_width", f"must be odd, but is {self.median_width}")
        for name, table in (("language", self.languages), ("task", self.tasks)):
            chosen, known = getattr(self, name), [entry for entry, _ in table]
            problem = f"must be one of {', '.join(known) or 'none'}, but is `{chosen!s:.40}`"
            require(chosen is None or chosen in known, name, problem)

    @property
    def samples(self) -> int:
        """Samples of a clip."""
        return self.seconds * self.sampling_rate

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return STRIDE * self.positions

    @property
    def step_seconds(self) -> float:
        """The seconds from one timestamp to the next, one position of the encoder."""
        return STRIDE * self.hop / self.sampling_rate

    @property
    def first_timestamp(self) -> int | None:
        """The id of the timestamp 0, which those of later times follow; None for a model without timestamps."""
        return None if self.untimed_id is None else self.untimed_id + 1

    def has_timestamps(self, vocab_size: int) -> bool:
        """Whether the ids of a model include timestamps."""
        return self.first_timestamp is not None and self.first_timestamp < vocab_size

    def prompt(self, language: int | None, *, timed: bool = False) -> tuple[int, ...]:
        """The ids after the decoder's start token; `language` is the id of the language, None to leave it out. `timed`:
        for an answer with timestamps."""
        task = dict(self.tasks).get(self.task or "")
        chosen = (language, task, self.untimed_id) if self.languages or self.tasks else (*self.prompt_ids, None)
        return tuple(id for id in chosen if id is not None and not (timed and id == self.untimed_id))

    def in_languages(self, *, source_language: str | None = None, target_language: str | None = None) -> SpeechConfig:
        """The settings for recordings in `source_language` with answers in `target_language`: the same language, or
        English, the only one that is translated into. None: unchanged. SettingError for what the model cannot do."""
        names, spoken = [name for name, _ in self.languages], source_language or self.language
        for setting, code in (("source_language", source_language), ("target_language", target_language)):
            if code is not None and code not in names:
                problem = f"must be a language that the model knows ({len(names)} of them), but is {show(code)}"
                raise SettingError((setting,), problem, hint=nearest(code, names))
        if target_language is None:
            return replace(self, language=spoken)
        problem = f"must be the language that is spoken ({spoken or 'not said'}) or en, but is {target_language}"
        require(target_language in (spoken, "en"), "target_language", problem)
        task = "transcribe" if target_language == spoken else "translate"
        problem = f"needs a model that can {task}, but this one has no such task"
        require(task in dict(self.tasks), "target_language", problem)
        return replace(self, language=spoken, task=task)
