"""Tiny random TrOCRs, as transformers makes and writes them: network, search settings, preprocessing, tokenizer."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
import transformers
from inputs.images import picture
from parity import reference
from torch import Tensor
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from antiphon.inputs.image_features import image_of

TrOCR = transformers.VisionEncoderDecoderModel


def make(seed: int, folder: Path) -> TrOCR:
    """A random checkpoint in `folder` with all its files; the model in evaluation mode. One in three has a projection
    between encoder and decoder (`enc_to_dec_proj`)."""
    dice = random.Random(seed)
    kind, (height, width) = dice.choice(["ViT", "DeiT"]), dice.choice([(8, 8), (8, 12), (12, 4)])
    channels = dice.choice([1, 3, 3])
    encoder = getattr(transformers, f"{kind}Config")(
        **encoder_settings(dice), image_size=[height, width], patch_size=4, num_channels=channels
    )
    decoder = transformers.TrOCRConfig(**decoder_settings(dice, encoder.hidden_size, projected=seed % 3 == 1))
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model: Any = TrOCR(config).eval()
    if not decoder.tie_word_embeddings:
        output = model.decoder.output_projection
        output.weight = torch.nn.Parameter(torch.empty_like(output.weight))
    reference.randomize(model, seed)
    search = model.generation_config
    search.forced_bos_token_id = dice.choice([None, 0])
    search.forced_eos_token_id = dice.choice([None, 2])
    model.save_pretrained(folder)
    write_processor(folder, kind, height, width, channels, dice)
    model.config.pad_token_id, model.config.eos_token_id, model.config.bos_token_id = 1, 2, 0
    reference.write_tokenizer(folder, model)
    return model


def encoder_settings(dice: random.Random) -> dict[str, Any]:
    return {
        "hidden_size": dice.choice([16, 24]),
        "num_hidden_layers": dice.choice([1, 2, 3]),
        "num_attention_heads": dice.choice([1, 2, 4]),
        "intermediate_size": dice.choice([14, 24]),
        "hidden_act": dice.choice(["gelu", "relu", "gelu_new"]),
        "layer_norm_eps": dice.choice([1e-12, 1e-3]),
        "qkv_bias": dice.random() < 0.5,
    }


def decoder_settings(dice: random.Random, width: int, *, projected: bool) -> dict[str, Any]:
    own = dice.choice([each for each in (16, 24, 32) if each != width] if projected else [width, 16, 32])
    return {
        "vocab_size": dice.choice([40, 60]),
        "d_model": own,
        "decoder_layers": dice.choice([1, 2, 3]),
        "decoder_attention_heads": dice.choice([1, 2, 4]),
        "decoder_ffn_dim": dice.choice([14, 24]),
        "max_position_embeddings": dice.choice([20, 32]),
        "activation_function": dice.choice(["gelu", "relu", "swish"]),
        "scale_embedding": dice.random() < 0.5,
        "use_learned_position_embeddings": dice.random() < 0.7,
        "layernorm_embedding": dice.random() < 0.7,
        "cross_attention_hidden_size": None if projected or (own == width and dice.random() < 0.5) else width,
        "tie_word_embeddings": dice.random() < 0.5,
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
    }  # fmt: skip


def write_processor(folder: Path, kind: str, height: int, width: int, channels: int, dice: random.Random) -> None:
    """preprocessor_config.json, of the usual numbers or of others."""
    settings: dict[str, Any] = {"size": {"height": height, "width": width}, "resample": dice.choice([2, 3])}
    if channels == 1:
        settings |= {"image_mean": [0.4], "image_std": [0.3]}
    elif dice.random() < 0.5:
        settings |= {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.3, 0.2, 0.1]}
    processor = DeiTImageProcessorPil if kind == "DeiT" else ViTImageProcessorPil
    processor(**settings, **({"do_center_crop": False} if kind == "DeiT" else {})).save_pretrained(folder)


def pictures(seed: int, channels: int, count: int = 4) -> list[Tensor]:
    """Images of several sizes, smooth and rough."""
    dice = random.Random(seed)
    sizes = [(dice.choice([4, 8, 17, 40]), dice.choice([4, 12, 31])) for _ in range(count)]
    return [picture(height, width, channels=channels, seed=seed + i) for i, (height, width) in enumerate(sizes)]


def pixel_values(folder: Path, images: list[Tensor]) -> Tensor:
    """The reference's pixels of images, (N, C, H, W) float32."""
    processor = ViTImageProcessorPil.from_pretrained(folder)  # reads the settings of either
    found = [processor(image_of(image), return_tensors="pt", input_data_format=None).pixel_values for image in images]
    return torch.cat(found)
