"""Whisper's folders without transformers: what is read from which file, and what is refused, by which line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from models.test_hub import change, parts_of

from antiphon.errors import ConfigError, ModelError
from antiphon.models.folders.checkpoint import Parts
from antiphon.models.folders.hub import load_pretrained, save_pretrained

CONFIG, SEARCH, PREPROCESSOR = "config.json", "generation_config.json", "preprocessor_config.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Whisper as the hub has it, with one language, one task and clips of 1,000 samples."""
    return save_pretrained(tmp_path / "whisper", parts_of("whisper"))


def prompt(parts: Parts) -> tuple[int, ...]:
    assert parts.model.family is not None and parts.model.family.speech is not None
    speech = parts.model.family.speech
    return speech.prompt(dict(speech.languages).get(speech.language or ""))


def test_features_may_be_described_in_processor_config(folder: Path) -> None:
    content = json.loads((folder / PREPROCESSOR).read_text()) | {"n_fft": 300}
    (folder / PREPROCESSOR).unlink()
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": content}))
    family = load_pretrained(folder).model.family
    assert family is not None and family.speech is not None and family.speech.window == 300


@pytest.mark.parametrize(
    ("said", "ids"),
    [
        ({}, ()),
        ({"language": "de"}, (9, 8)),
        ({"language": "<|de|>", "no_timestamps_token_id": 7}, (9, 8, 7)),
        ({"language": "German"}, (9, 8)),
        ({"task": "transcribe"}, (8,)),
        ({"forced_decoder_ids": [[1, 9], [2, 8]]}, (9, 8)),
        ({"forced_decoder_ids": [[1, None], [2, 8]], "no_timestamps_token_id": 7}, (8, 7)),
        ({"lang_to_id": ..., "task_to_id": ..., "forced_decoder_ids": [[1, 7]], "no_timestamps_token_id": 7}, (7,)),
        ({"lang_to_id": ..., "task_to_id": ...}, ()),
    ],
)
def test_prompts(said: dict[str, Any], ids: tuple[int, ...], folder: Path, tmp_path: Path) -> None:
    change(folder / SEARCH, **said)
    parts = load_pretrained(folder)
    assert prompt(parts) == ids
    again = load_pretrained(save_pretrained(tmp_path / "again", parts))
    assert again.model == parts.model and again.generation == parts.generation


@pytest.mark.parametrize(
    ("file", "changes", "line", "kind"),
    [
        (
            PREPROCESSOR,
            {"feature_size": 6},
            r"`feature_size` in preprocessor_config.json must be `num_mel_bins` \(5\)",
            ModelError,
        ),
        (
            PREPROCESSOR,
            {"chunk_length": 2},
            "`positions` must be half of the 16 frames of 2 seconds, but is 4",
            ConfigError,
        ),
        (PREPROCESSOR, {"chunk_length": 3600, "sampling_rate": 2**20}, "must be at most 67108864 samples", ConfigError),
        (PREPROCESSOR, {"dither": 0.5}, "`dither` must be at least 0 and at most 0", ConfigError),
        (PREPROCESSOR, {"hop_length": 0}, "`hop` must be at least 1", ConfigError),
        (SEARCH, {"lang_to_id": {"<|de|>": "nine"}}, "`lang_to_id` .* must map at most 1000 names to ids", ModelError),
        (SEARCH, {"lang_to_id": {"<|de|>": 270}}, r"must be below `vocab_size` \(270\), but one is 270", ModelError),
        (SEARCH, {"language": "fr"}, "`language` must be one of de, but is `fr`", ConfigError),
        (SEARCH, {"forced_decoder_ids": [[2, 8]]}, "must be ids for the places 1, 2 and so on", ModelError),
        (SEARCH, {"forced_decoder_ids": [[1, 5]]}, "but 5 is not. Set `language` and `task` there instead", ModelError),
        (
            CONFIG,
            {"max_source_positions": 2**40},
            "`max_source_positions` must be at least 1 and at most 65536",
            ConfigError,
        ),
        (CONFIG, {"num_mel_bins": 0}, "`num_mel_bins` must be at least 1", ConfigError),
    ],
)
def test_what_does_not_go_together_is_refused(
    file: str, changes: dict[str, Any], line: str, kind: type[Exception], folder: Path
) -> None:
    change(folder / file, **changes)
    with pytest.raises(kind, match=line) as error:
        load_pretrained(folder)
    assert "\n" not in str(error.value)
