"""Whisper (Radford et al. 2022): from speech to text.

Log-mel features pass two convolutions; sinusoids are added, from a table in the file. The decoder is of the fairseq
line, with learned positions, pre-norm, and keys without a bias. The first tokens of an answer (language, task, no
timestamps) are set as in transformers: by `language` and `task` in generation_config.json, or else the older
`forced_decoder_ids`. Without a language, the model detects it (section 2.3 and figure 1 of the paper).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from antiphon.config import AttentionConfig
from antiphon.config.ids import MOST_IDS, Id
from antiphon.config.speech import Names, SpeechConfig
from antiphon.errors import ModelError
from antiphon.models.families.fairseq import LineKeys, common_keys, common_model, common_rows
from antiphon.models.families.family import Family, TableKeys, Tables, TranslatedCheckpoint, WeightName, refuse_unless
from antiphon.models.families.spoken import CODES
from antiphon.models.folders.stored import WeightFiles
from antiphon.settings import Range

_PositionCount = Annotated[int, Range(low=1, high=2**16)]
_MAX_NAMES = 1000
_TABLE = "model.decoder.embed_tokens.weight"
_MODEL = {"positions": "learned", "norm_placement": "pre"}
_SEARCHED = (
    "begin_suppress_tokens", "forced_decoder_ids", "lang_to_id", "task_to_id", "language", "task",
    "no_timestamps_token_id", "prev_sot_token_id", "max_initial_timestamp_index", "alignment_heads",
)  # fmt: skip
_PREPROCESSED = ("feature_size", "sampling_rate", "n_fft", "hop_length", "chunk_length", "dither")


@dataclass(frozen=True, kw_only=True)
class WhisperKeys(LineKeys):
    """The keys that are read of a Whisper's config.json, generation_config.json and preprocessor_config.json."""

    num_mel_bins: Annotated[int, Range(low=1, high=1024)] = 80
    max_source_positions: _PositionCount = 1500
    max_target_positions: _PositionCount = 448
    begin_suppress_tokens: tuple[Id, ...] | None = None
    forced_decoder_ids: tuple[tuple[int, Id | None], ...] | None = None
    lang_to_id: object = None
    task_to_id: object = None
    language: str | None = None
    task: str | None = None
    no_timestamps_token_id: Id | None = None
    prev_sot_token_id: Id | None = None
    max_initial_timestamp_index: Annotated[int, Range(low=0, high=2**16)] | None = None
    alignment_heads: tuple[tuple[int, int], ...] | None = None
    median_filter_width: int = 7
    feature_size: Annotated[int, Range(low=1, high=1024)] | None = None
    sampling_rate: int = 16000
    n_fft: int = 400
    hop_length: int = 160
    chunk_length: int = 30
    dither: Annotated[float, Range(low=0, high=0)] = 0.0

    def speech(self) -> SpeechConfig:
        """The settings of speech input; ModelError if the files do not match."""
        if self.feature_size not in (None, self.num_mel_bins):
            raise ModelError(
                f"`feature_size` in preprocessor_config.json must be `num_mel_bins` ({self.num_mel_bins}), but is "
                f"{self.feature_size}. Use the file that belongs to the model."
            )
        languages, tasks = _names("lang_to_id", self.lang_to_id), _names("task_to_id", self.task_to_id)
        asked = self._asked(dict(languages), dict(tasks))
        made = SpeechConfig(
            mel_bins=self.num_mel_bins,
            positions=self.max_source_positions,
            sampling_rate=self.sampling_rate,
            window=self.n_fft,
            hop=self.hop_length,
            seconds=self.chunk_length,
            languages=languages,
            tasks=tasks,
            untimed_id=self.no_timestamps_token_id,
            previous_id=self._previous_id(),
            max_first_timestamp=self.max_initial_timestamp_index,
            alignment_heads=self._alignment_heads(),
            median_width=self.median_filter_width,
            never_first_ids=tuple(id for id in self.begin_suppress_tokens or () if id < self.vocab_size),
            **asked,
        )
        known = (*dict(languages).values(), *dict(tasks).values(), *made.prompt(None), made.previous_id or 0)
        if beyond := [id for id in known if id >= self.vocab_size]:
            problem = f"must be below `vocab_size` ({self.vocab_size}), but one is {beyond[0]}"
            raise ModelError(f"the ids in generation_config.json {problem}. Use the file that belongs to the model.")
        return made

    def _previous_id(self) -> int | None:
        """The id before the text of earlier windows: as in transformers the last but one of the suppressed ids, if
        generation_config.json does not have it."""
        suppressed = self.suppress_tokens or ()
        return suppressed[-2] if self.prev_sot_token_id is None and len(suppressed) > 1 else self.prev_sot_token_id

    def _alignment_heads(self) -> tuple[tuple[int, int], ...]:
        """The layers and heads; ModelError for one that the decoder does not have."""
        heads = self.alignment_heads or ()
        layers, of_layer = self.decoder_layers, self.decoder_attention_heads
        if not all(0 <= layer < layers and 0 <= head < of_layer for layer, head in heads):
            raise ModelError(
                f"`alignment_heads` in generation_config.json must be below the {layers} layers and {of_layer} heads "
                "of the decoder, but are not. Use the file that belongs to the model."
            )
        return heads

    def _asked(self, languages: Mapping[str, int], tasks: Mapping[str, int]) -> dict[str, Any]:
        """The language and the task, or instead of them the forced ids."""
        said = None if self.language is None else _bare(self.language.lower())
        language = None if said is None else CODES.get(said, said)
        task, forced = self.task, [id for _, id in self.forced_decoder_ids or ()]
        if [place for place, _ in self.forced_decoder_ids or ()] != list(range(1, len(forced) + 1)):
            raise ModelError("`forced_decoder_ids` must be ids for the places 1, 2 and so on, but are not.")
        if not languages and not tasks:
            given = [id for id in (*forced, self.no_timestamps_token_id) if id is not None]
            return {"language": language, "task": task, "prompt_ids": tuple(dict.fromkeys(given))}
        if language is None and task is None:
            spoken, wanted = ({id: name for name, id in table.items()} for table in (languages, tasks))
            known = {*spoken, *wanted, None, self.no_timestamps_token_id}
            if unknown := [id for id in forced if id not in known]:
                raise ModelError(
                    "`forced_decoder_ids` in generation_config.json must be of `lang_to_id`, `task_to_id` or "
                    f"`no_timestamps_token_id`, but {unknown[0]} is not. Set `language` and `task` there instead."
                )
            language = next((spoken[id] for id in forced if id in spoken), None)
            task = next((wanted[id] for id in forced if id in wanted), None)
        if language is not None and task is None and "transcribe" in tasks:
            task = "transcribe"
        return {"language": language, "task": task}


def _bare(name: str) -> str:
    """Remove the brackets: `<|de|>` -> `de`."""
    return name.removeprefix("<|").removesuffix("|>")


def _names(key: str, table: object) -> Names:
    """The table `key` of names and ids; ModelError if it is not one."""
    if table is None:
        return ()
    names = list(table.items()) if isinstance(table, Mapping) else []
    plain = all(isinstance(name, str) and type(id) is int and 0 <= id < MOST_IDS for name, id in names)
    if not isinstance(table, Mapping) or len(names) > _MAX_NAMES or not plain:
        problem = f"must map at most {_MAX_NAMES} names to ids, but does not"
        raise ModelError(f"`{key}` in generation_config.json {problem}. Restore the file.")
    return tuple((_bare(name), id) for name, id in names)


def _ours(keys: WhisperKeys, stored: WeightFiles, tables: Tables) -> TranslatedCheckpoint:
    fixed = {"shared_tables": True, "embedding_scale": False, "key_bias": False}
    family = {"name": "whisper", **fixed, "speech": keys.speech()}
    whole = {**_MODEL, "max_length": keys.max_target_positions}
    made = common_model(keys, stored, tables, family=family, model=whole)
    return TranslatedCheckpoint(made, AttentionConfig(), tables, keys.vocab_size, keys.vocab_size)


def _theirs(ours: TranslatedCheckpoint) -> WhisperKeys:
    speech = ours.family.speech
    refuse_unless(speech is not None, "whisper", "sources of sound")
    assert speech is not None
    fixed = {"position_offset": 0, "embedding_norm": False, "embedding_scale": False, "output_bias": False}
    forced = speech.prompt_ids if not speech.languages and not speech.tasks else ()
    return WhisperKeys(
        **common_keys("whisper", ours, {**_MODEL, **fixed, "key_bias": False}),
        num_mel_bins=speech.mel_bins,
        max_source_positions=speech.positions,
        max_target_positions=ours.model.max_length,
        begin_suppress_tokens=speech.never_first_ids or None,
        forced_decoder_ids=tuple(enumerate(forced, 1)) or None,
        lang_to_id={f"<|{name}|>": id for name, id in speech.languages} or None,
        task_to_id=dict(speech.tasks) or None,
        language=None if speech.language is None else f"<|{speech.language}|>",
        task=speech.task,
        no_timestamps_token_id=speech.untimed_id,
        prev_sot_token_id=speech.previous_id,
        max_initial_timestamp_index=speech.max_first_timestamp,
        alignment_heads=speech.alignment_heads or None,
        median_filter_width=speech.median_width,
        feature_size=speech.mel_bins,
        sampling_rate=speech.sampling_rate,
        n_fft=speech.window,
        hop_length=speech.hop,
        chunk_length=speech.seconds,
    )


def _rows(ours: TranslatedCheckpoint) -> list[WeightName]:
    rows = [row for row in common_rows(ours) if not row.ours.startswith("source.")]
    rows += (
        [WeightName(ours.tables.target, "target.table.weight")] if ours.tables.shared else []
    )  # with a source that is none
    rows.append(WeightName("model.encoder.embed_positions.weight", "source.positions.table"))
    for i in range(2):
        for end in ("weight", "bias"):
            rows.append(WeightName(f"model.encoder.conv{i + 1}.{end}", f"source.convolutions.layers.{i}.{end}"))
    return rows


WHISPER = Family(
    "whisper",
    "WhisperForConditionalGeneration",
    WhisperKeys,
    _ours,
    _theirs,
    _rows,
    TableKeys(_TABLE, _TABLE, _TABLE, "proj_out.weight"),
    prefix="model.",
    searched=_SEARCHED,
    preprocessed=_PREPROCESSED,
    preprocessor={
        "feature_extractor_type": "WhisperFeatureExtractor",
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    },
)
