"""Tiny random Whispers, as transformers makes and writes them: network, search settings, tokenizer, features."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
import transformers
from parity import reference
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer
from torch import Tensor

LETTERS = 256  # the ids of the bytes come first, as in a byte-level vocabulary
END, START, ENGLISH, GERMAN, TRANSLATE, TRANSCRIBE, UNTIMED = range(LETTERS, LETTERS + 7)
NAMES = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
         "<|notimestamps|>")  # fmt: skip


def make(seed: int, folder: Path) -> transformers.WhisperForConditionalGeneration:
    """A random checkpoint in `folder` with all its files; the model in evaluation mode, its features beside it."""
    dice = random.Random(seed)
    seconds, hop = dice.choice([(1, 160), (2, 320), (1, 100)])
    model = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(**settings(dice, seconds, hop))
    ).eval()
    reference.randomize(model, seed)
    speak(model, dice)
    model.save_pretrained(folder)
    features = transformers.WhisperFeatureExtractor(
        feature_size=model.config.num_mel_bins, hop_length=hop, chunk_length=seconds, n_fft=dice.choice([400, 256])
    )
    features.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def settings(dice: random.Random, seconds: int, hop: int) -> dict[str, Any]:
    heads = dice.choice([1, 2, 4])
    return {
        "vocab_size": LETTERS + dice.choice([8, 12]),
        "num_mel_bins": dice.choice([80, 128]),
        "d_model": dice.choice([16, 24]),
        "encoder_layers": dice.choice([1, 2, 3]),
        "decoder_layers": dice.choice([1, 2, 3]),
        "encoder_attention_heads": heads,
        "decoder_attention_heads": dice.choice([heads, 2]),
        "encoder_ffn_dim": dice.choice([14, 24]),
        "decoder_ffn_dim": dice.choice([14, 24]),
        "max_source_positions": seconds * 16000 // hop // 2,
        "max_target_positions": dice.choice([24, 40]),
        "activation_function": dice.choice(["gelu", "relu"]),
        "scale_embedding": dice.random() < 0.5,  # written, and used by none
        "pad_token_id": END,
        "bos_token_id": END,
        "eos_token_id": END,
        "decoder_start_token_id": START,
        "begin_suppress_tokens": None,
    }


def make_timed(seed: int, folder: Path) -> transformers.WhisperForConditionalGeneration:
    """A random checkpoint with ids for timestamps, for the text of earlier windows, and with alignment heads."""
    dice = random.Random(seed)
    seconds, hop = dice.choice([(1, 160), (2, 320), (1, 100)])
    shape = settings(dice, seconds, hop) | {"max_target_positions": dice.choice([20, 28])}
    shape["vocab_size"] = UNTIMED + 2 + shape["max_source_positions"]
    shape["median_filter_width"] = dice.choice([3, 7])
    model = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**shape)).eval()
    reference.randomize(model, seed)
    search = model.generation_config
    search.begin_suppress_tokens = dice.choice([None, [10, END]])
    search.suppress_tokens = [12, 13, START, TRANSLATE]
    search.no_timestamps_token_id = UNTIMED
    search.prev_sot_token_id = TRANSLATE
    search.max_initial_timestamp_index = dice.choice([None, 1, 10])
    heads = [
        (layer, head) for layer in range(shape["decoder_layers"]) for head in range(shape["decoder_attention_heads"])
    ]
    search.alignment_heads = [list(place) for place in dice.sample(heads, dice.randint(1, len(heads)))]
    search.return_timestamps = False
    search.max_length = shape["max_target_positions"]
    if dice.random() < 0.7:
        search.is_multilingual = True
        search.lang_to_id = {"<|en|>": ENGLISH, "<|de|>": GERMAN}
        search.task_to_id = {"transcribe": TRANSCRIBE}
        search.task = "transcribe"
    model.save_pretrained(folder)
    features = transformers.WhisperFeatureExtractor(
        feature_size=shape["num_mel_bins"], hop_length=hop, chunk_length=seconds, n_fft=400
    )
    features.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def speak(model: transformers.WhisperForConditionalGeneration, dice: random.Random) -> None:
    """What generation_config.json says: of one language or several, and of all that a search may not say."""
    search = model.generation_config
    search.begin_suppress_tokens = dice.choice([None, [10, END], [11]])
    search.suppress_tokens = dice.choice([None, [12, 13, START]])
    search.return_timestamps = False
    kind = dice.choice(["english", "old", "told", "asked", "bare"])
    if kind != "bare":
        search.no_timestamps_token_id = UNTIMED
    if kind == "english":
        search.is_multilingual = False
        search.forced_decoder_ids = [[1, UNTIMED]]
    if kind in ("old", "told", "asked"):
        search.is_multilingual = True
        search.lang_to_id = {"<|en|>": ENGLISH, "<|de|>": GERMAN}
        search.task_to_id = {"translate": TRANSLATE, "transcribe": TRANSCRIBE}
    if kind == "old":
        search.forced_decoder_ids = [[1, dice.choice([None, GERMAN])], [2, TRANSCRIBE]]
    if kind == "told":
        search.language, search.task = dice.choice(["<|de|>", "en"]), dice.choice([None, "translate"])
    if kind == "asked":
        search.task = dice.choice([None, "translate"])


def write_tokenizer(folder: Path) -> None:
    """Bytes, and the tokens that steer the model."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    rust = RustTokenizer(models.BPE({letter: id for id, letter in enumerate(alphabet)}, merges=[]))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens([AddedToken(name, special=True) for name in NAMES])
    rust.save(str(folder / "tokenizer.json"))


def features(folder: Path, clips: list[list[float]]) -> Tensor:
    """The reference's features of clips, (N, M, F) float32."""
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    return extractor(clips, sampling_rate=16000, return_tensors="pt").input_features


def noises(seed: int, folder: Path) -> list[list[float]]:
    """Clips of several lengths, among them one that is longer than the model hears, and one that is nearly silent."""
    said = json.loads((folder / "preprocessor_config.json").read_text())
    generator = torch.Generator().manual_seed(seed)
    whole = said["n_samples"]
    clips = [0.3 * torch.randn(length, generator=generator) for length in (whole // 3, whole, whole + 77, 401)]
    tone = 0.5 * (torch.arange(whole // 2) * 0.2).sin()
    return [clip.tolist() for clip in (*clips, tone, 1e-6 * clips[0])]
