"""Tiny random models of sound, as transformers makes and writes them: Speech2Text and Moonshine."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from parity import reference
from parity.test_families import sinusoids
from torch import Tensor
from transformers import PreTrainedModel

from antiphon.inputs import AudioInput

Make = Callable[[random.Random, Path], PreTrainedModel]


def make(name: str, seed: int, folder: Path) -> PreTrainedModel:
    """A random checkpoint in `folder` with all its files; the model in evaluation mode."""
    model = FAMILIES[name](random.Random(seed), folder).eval()
    reference.randomize(model, seed)
    model.save_pretrained(folder)
    pad_id = model.config.pad_token_id
    model.config.pad_token_id = model.config.eos_token_id if pad_id is None else pad_id
    reference.write_tokenizer(folder, model)
    model.config.pad_token_id = pad_id
    return model


def speech2text(dice: random.Random, folder: Path) -> PreTrainedModel:
    """Speech2Text, with one to three convolutions, and a forced first token in half of the models."""
    heads, kernels = dice.choice([1, 2, 4]), dice.choice([[5, 5], [3], [1, 3, 7]])
    bins = dice.choice([8, 80])
    config = transformers.Speech2TextConfig(
        vocab_size=dice.choice([40, 60]),
        d_model=dice.choice([16, 24]),
        encoder_layers=dice.choice([1, 2, 3]),
        decoder_layers=dice.choice([1, 2, 3]),
        encoder_attention_heads=heads,
        decoder_attention_heads=dice.choice([heads, 2]),
        encoder_ffn_dim=dice.choice([14, 24]),
        decoder_ffn_dim=dice.choice([14, 24]),
        max_source_positions=dice.choice([60, 200]),
        max_target_positions=dice.choice([32, 50]),
        activation_function=dice.choice(["gelu", "relu", "gelu_new", "swish"]),
        scale_embedding=dice.random() < 0.5,
        num_conv_layers=len(kernels),
        conv_kernel_sizes=kernels,
        conv_channels=dice.choice([6, 20]),
        input_feat_per_channel=bins,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    scaled = dice.random() < 0.5
    transformers.Speech2TextFeatureExtractor(
        feature_size=bins,
        num_mel_bins=bins,
        sampling_rate=dice.choice([16000, 8000]),
        do_ceptral_normalize=dice.random() < 0.7,
        normalize_means=scaled,
        normalize_vars=scaled,
    ).save_pretrained(folder)
    model = transformers.Speech2TextForConditionalGeneration(config)
    return reference.searched(model, dice, first=7, last=2)


def moonshine(dice: random.Random, folder: Path) -> PreTrainedModel:
    """Moonshine, whose rotary positions turn from a half of a head to all of it."""
    heads = dice.choice([1, 2, 4])
    config = transformers.MoonshineConfig(
        vocab_size=dice.choice([40, 60]),
        hidden_size=heads * dice.choice([4, 6, 10]),
        intermediate_size=dice.choice([14, 24]),
        encoder_num_hidden_layers=dice.choice([1, 2, 3]),
        decoder_num_hidden_layers=dice.choice([1, 2, 3]),
        encoder_num_attention_heads=heads,
        decoder_num_attention_heads=heads,
        encoder_hidden_act=dice.choice(["gelu", "relu", "gelu_pytorch_tanh", "silu"]),
        decoder_hidden_act=dice.choice(["silu", "gelu", "relu"]),
        pad_head_dim_to_multiple_of=dice.choice([None, 8]),
        max_position_embeddings=dice.choice([32, 50]),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": dice.choice([10000.0, 100.0]),
            "partial_rotary_factor": dice.choice([0.5, 0.9, 1.0]),
        },
        pad_token_id=dice.choice([None, 0]),
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        attn_implementation="sdpa",  # eager rounds weights to float32
    )
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(folder)
    return transformers.MoonshineForConditionalGeneration(config)


def features(model: PreTrainedModel, seed: int) -> list[Tensor]:
    """Rows of several lengths that the network reads, (F, M) float64; no padding."""
    generator, config = torch.Generator().manual_seed(seed), model.config
    if config.model_type == "moonshine":
        lengths = (895, 900, 1700, 3000, 5000)
        clips = [torch.randn(samples, generator=generator, dtype=torch.float64) for samples in lengths]
        return [clip.unfold(0, 127, 64) for clip in clips]
    lengths = (1, 2, 20, 45, 60)
    width = config.input_feat_per_channel
    return [torch.randn(length, width, generator=generator, dtype=torch.float64) for length in lengths]


def widen(model: PreTrainedModel) -> PreTrainedModel:
    """The reference in float64, its sinusoids too."""
    model = model.double()
    for module in model.modules():
        if type(module).__name__ == "Speech2TextSinusoidalPositionalEmbedding":
            module.weights = sinusoids(*module.weights.shape, last=module.weights.shape[1] - 2)
            module.weights[module.padding_idx] = 0
    return model


def arguments(row: Tensor, dtype: torch.dtype) -> dict[str, Any]:
    """The arguments of the reference for one row of features."""
    if row.shape[1] == 127:  # frames of samples, 64 apart
        return {"input_values": torch.cat([row[:-1, :64].flatten(), row[-1]])[None].to(dtype)}
    return {"input_features": row[None].to(dtype)}


def samples(seed: int) -> list[Tensor]:
    """Clips, (N,) float32."""
    generator = torch.Generator().manual_seed(seed)
    noise = [0.2 * torch.randn(length, generator=generator) for length in (400, 3000, 8123)]
    tone = 0.5 * (torch.arange(6000) * 0.2).sin()
    return [*noise, tone]


def check_features(clip: Tensor, wanted: Any, kind: AudioInput) -> None:
    """Our features of a clip are the reference's, whose spectrum is rounded to float32: to 1e-5, before they are
    divided by the deviation of their band."""
    found = kind.features(clip)
    if "input_values" in wanted:
        samples = torch.nn.functional.pad(wanted["input_values"][0], (0, max(0, 895 - len(clip))))
        assert torch.equal(found, samples.unfold(0, 127, 64))
        return
    theirs = wanted["input_features"][0]
    assert found.shape == theirs.shape
    if kind.audio.normalize and len(found) == 1:
        assert bool((found == 0).all())  # one frame has no deviation: NaN there
        return
    deviation = AudioInput(replace(kind.audio, normalize=False)).features(clip).std(0, correction=0)
    wide = deviation > 1e-3  # a band that is nearly constant has the deviation of its rounding
    limit = 2e-5 / deviation[wide] if kind.audio.normalize else 1e-5
    assert bool(((found - theirs).abs()[:, wide] < limit).all())


FAMILIES: dict[str, Make] = {"speech_to_text": speech2text, "moonshine": moonshine}
