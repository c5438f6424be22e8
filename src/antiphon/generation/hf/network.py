"""Reads a folder of a family that is not ours with transformers, within our bounds: data only, of limited size.

foreign = read_foreign(Path("led-base"), config, device=torch.device("cpu"), dtype=torch.float32)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from antiphon.config import FamilyConfig, GenerationConfig
from antiphon.errors import AntiphonError, ModelError, one_line
from antiphon.generation.hf.readers import HFReader, HFTokenizer, ImageReader, SoundReader, TextReader
from antiphon.models.families.search import search_settings
from antiphon.models.folders.files import read_config, read_json, within
from antiphon.models.folders.stored import WeightFiles
from antiphon.search.special_tokens import SpecialTokens
from antiphon.text.vocabulary import reset_training_settings

MOST, MOST_LAYERS = 2**24, 256  # the largest number in config.json, and the largest one whose name contains "layers"
# Keys that make the library fetch, import or run code other than its own classes.
_CODE = ("auto_map", "custom_generate", "custom_pipelines", "quantization_config", "attn_implementation")
_LENGTHS = ("max_encoder_position_embeddings", "max_position_embeddings", "n_positions")
_SEARCH = "generation_config.json"
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_SIDES = ("size", "height", "width", "shortest_edge", "longest_edge", "crop_size")
MOST_SIDE = 2**13  # pixels of a side to which a processor scales an image


@dataclass(frozen=True)
class HFNetwork:
    """The library's network and tokenizer, of its own types, with special tokens, search settings and what reads its
    sources.

    `most` is the largest number of tokens of a source or a target; None: no limit is known.
    """

    network: Any
    tokenizer: Any
    special_tokens: SpecialTokens
    search: GenerationConfig
    most: int | None
    reader: HFReader


def read_foreign(folder: Path, config: Mapping[str, Any], *, device: torch.device, dtype: torch.dtype) -> HFNetwork:
    """The model in `folder`, in evaluation mode; ModelError if it contains more than data, or cannot be read."""
    _check_folder(folder, config)
    stored = WeightFiles.in_folder(folder)
    apart = (folder / _SEARCH).exists()
    search = read_config(folder, _SEARCH) if apart else dict(config)
    with _reading(folder):
        from transformers import AutoConfig, AutoTokenizer

        kind, auto = _class_for(str(config["model_type"]))
        safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        settings = AutoConfig.from_pretrained(folder, **safe)
        with torch.device("meta"):
            sketch = auto.from_config(settings, trust_remote_code=False, attn_implementation="eager")
        asked = sum(parameter.numel() for parameter in sketch.parameters())
        there = sum(math.prod(stored.shape(key)) for key in stored)
        if asked > 2 * there + MOST:
            raise ModelError(
                f"`{folder}` must hold what its config.json describes, {asked} numbers, but holds {there}. "
                "Use the config.json that belongs to it."
            )
        network, account = auto.from_pretrained(
            folder, **safe, use_safetensors=True, dtype=dtype, attn_implementation="eager", output_loading_info=True
        )
        _check_account(folder, account)
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        if tokenizer.is_fast:
            reset_training_settings(tokenizer.backend_tokenizer)
        ids = network.generation_config
        special_tokens = _special_tokens(folder, ids, tokenizer)
        decoder = settings if kind == "text" else settings.get_text_config(decoder=True)
        most = next((int(n) for name in _LENGTHS if (n := getattr(decoder, name, None))), None)
        reader = _reader(kind, folder, safe, tokenizer, pad=special_tokens.pad)
    record = FamilyConfig(
        name="",
        pad_id=special_tokens.pad,
        start_id=special_tokens.start,
        end_id=special_tokens.end,
        first_id=next(iter(special_tokens.first), None),
    )
    generation = search_settings(
        search, family=record, most=most or MOST, where=str(folder / (_SEARCH if apart else "config.json"))
    )
    return HFNetwork(network.to(device).eval(), tokenizer, special_tokens, generation, most, reader)


def _class_for(family: str) -> tuple[str, Any]:
    """What a family reads, `text`, `sound` or `images`, and the library's class for it. One that reads text and more
    reads text here."""
    from transformers import AutoModelForImageTextToText, AutoModelForSeq2SeqLM, AutoModelForSpeechSeq2Seq
    from transformers.models.auto import modeling_auto as known

    kinds = (
        ("text", AutoModelForSeq2SeqLM, known.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
        ("sound", AutoModelForSpeechSeq2Seq, known.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES),
        ("images", AutoModelForImageTextToText, known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
    )
    return next(((kind, auto) for kind, auto, names in kinds if family in names), ("text", AutoModelForSeq2SeqLM))


def _reader(kind: str, folder: Path, safe: Mapping[str, Any], tokenizer: Any, *, pad: int) -> HFReader:
    """What reads the sources of a model, with the processor in its folder."""
    if kind == "text":
        return TextReader(HFTokenizer(tokenizer), pad=pad)
    if kind == "sound":
        from transformers import AutoFeatureExtractor

        return SoundReader(AutoFeatureExtractor.from_pretrained(folder, **safe))
    from transformers import AutoImageProcessor, AutoProcessor

    processor = None
    if (folder / "processor_config.json").exists():
        processor = AutoProcessor.from_pretrained(folder, **safe)
    return ImageReader(AutoImageProcessor.from_pretrained(folder, **safe), processor)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turns any error of the library about a folder into a one-line ModelError, and silences its own messages."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except AntiphonError:
        raise
    except Exception as error:
        reason = one_line(error)
        raise ModelError(
            f"`{folder}` must be a folder that transformers can read, but cannot be read "
            f"({type(error).__name__}: {reason:.200}). Restore it."
        ) from error
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _check_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """ModelError for links out of the folder, settings that lead to code or elsewhere, and numbers beyond bounds."""
    for file in sorted(folder.iterdir()):
        if file.is_symlink() or not file.is_dir():
            within(folder, file.name)
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"`{folder}` must be a whole model, but holds an adapter, which may name any base. Merge it.")
    for path, value in _entries(config):
        name = path[-1] if path else ""
        if any(word in name for word in _CODE) and value not in (None, "eager", "sdpa"):
            raise ModelError(
                f"`{folder / 'config.json'}` must describe a model as data, but has `{'.'.join(path):.100}`. "
                "Take it out."
            )
        bound = MOST_LAYERS if "layers" in name else MOST
        if isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) <= bound:
            raise ModelError(
                f"`{'.'.join(path):.100}` in `{folder / 'config.json'}` must be at most {bound}, but is {value!r:.40}."
            )
    if (folder / "tokenizer_config.json").exists():
        for name, value in read_json(within(folder, "tokenizer_config.json")).items():
            leads = isinstance(value, str) and (name.endswith("_file") and "/" in value.replace("\\", "/"))
            if leads or (name == "auto_map" and value):
                raise ModelError(
                    f"`{name:.60}` in `{folder / 'tokenizer_config.json'}` must name nothing outside of the folder, "
                    f"and no code, but is {value!r:.60}. Take it out."
                )
    for file in _PROCESSORS:
        if (folder / file).exists():
            _check_processor(folder / file, read_json(within(folder, file)))


def _check_processor(file: Path, content: object) -> None:
    """ModelError for settings of a processor that name code, or whose features would be huge."""
    for path, value in _entries(content):
        name = path[-1] if path else ""
        if name in _CODE and value:
            raise ModelError(
                f"`{'.'.join(path):.100}` in `{file}` must name no code, but is {value!r:.60}. Take it out."
            )
        if isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) <= MOST:
            raise ModelError(f"`{'.'.join(path):.100}` in `{file}` must be at most {MOST}, but is {value!r:.40}.")
        if name in _SIDES and isinstance(value, int | float) and not 0 < value <= MOST_SIDE:
            raise ModelError(
                f"`{'.'.join(path):.100}` in `{file}` must be a side of an image, at most {MOST_SIDE} pixels, but is "
                f"{value!r:.40}."
            )


def _entries(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every value in a JSON object, with the names that lead to it."""
    yield path, value
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _entries(part, (*path, str(name)))
    elif isinstance(value, list):
        for part in value:
            yield from _entries(part, path)


def _check_account(folder: Path, account: Mapping[str, Any]) -> None:
    for what, problem in (
        ("missing_keys", "lacks"),
        ("mismatched_keys", "has another shape for"),
        ("unexpected_keys", "has"),
    ):
        names = sorted(str(name) for name in account.get(what, ()))
        if names:
            raise ModelError(
                f"the weights of `{folder}` must be those that its config.json describes, but it {problem} "
                f"`{names[0]:.100}`{f' and {len(names) - 1} more' if names[1:] else ''}. Restore the folder."
            )


def _special_tokens(folder: Path, ids: Any, tokenizer: Any) -> SpecialTokens:
    """The ids that a search needs, from generation_config.json and the tokenizer."""
    end = ids.eos_token_id if ids.eos_token_id is not None else tokenizer.eos_token_id
    pad = ids.pad_token_id if ids.pad_token_id is not None else tokenizer.pad_token_id
    start = ids.decoder_start_token_id if ids.decoder_start_token_id is not None else ids.bos_token_id
    if isinstance(end, list) and len(end) == 1:
        end = end[0]
    if not (isinstance(end, int) and isinstance(pad, int) and isinstance(start, int)):
        raise ModelError(
            f"`{folder / _SEARCH}` must have one `eos_token_id`, one `pad_token_id` and one `decoder_start_token_id`, "
            f"but has {end}, {pad} and {start}."
        )
    first = () if ids.forced_bos_token_id is None else (ids.forced_bos_token_id,)
    return SpecialTokens(pad=pad, start=start, end=end, first=first)
