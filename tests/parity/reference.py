"""Tiny checkpoints with random shapes and weights, as transformers itself makes and writes them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedModel

WORDS = [f"w{i}" for i in range(100)]
Make = Callable[[random.Random], PreTrainedModel]


def randomize(model: PreTrainedModel, seed: int) -> None:
    """Weights of a size at which nothing is flat: norms around one, biases that are not zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue  # a table of sinusoids
        noise = torch.randn(parameter.shape, generator=generator)
        norm = "norm" in name and name.endswith("weight")
        parameter.data.copy_(1 + 0.2 * noise if norm else noise * (0.5 if parameter.dim() == 1 else 0.4))


def t5(dice: random.Random, **changes: Any) -> PreTrainedModel:
    """T5 1.0 or 1.1: tied and scaled, or neither, or one of the two."""
    config = t5_settings(dice, transformers.T5Config) | changes
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**config))
    return untied(model, dice)


def mt5(dice: random.Random) -> PreTrainedModel:
    """mT5."""
    return untied(
        transformers.MT5ForConditionalGeneration(transformers.MT5Config(**t5_settings(dice, transformers.MT5Config))),
        dice,
    )


def umt5(dice: random.Random) -> PreTrainedModel:
    """UMT5: a table of biases in every layer."""
    return untied(
        transformers.UMT5ForConditionalGeneration(
            transformers.UMT5Config(**t5_settings(dice, transformers.UMT5Config))
        ),
        dice,
    )


def longt5(dice: random.Random) -> PreTrainedModel:
    """LongT5: radii below and above the length of a source."""
    settings = t5_settings(dice, transformers.LongT5Config) | {"local_radius": dice.choice([0, 1, 2, 3, 5, 127])}
    return untied(transformers.LongT5ForConditionalGeneration(transformers.LongT5Config(**settings)), dice)


def t5_settings(dice: random.Random, kind: type) -> dict[str, Any]:
    heads = dice.choice([1, 2, 3])
    return {
        "vocab_size": dice.choice([40, 60]),
        "d_model": dice.choice([12, 16, 20]),
        "d_kv": dice.choice([4, 6, 8]),
        "d_ff": dice.choice([14, 24]),
        "num_layers": dice.choice([1, 2, 3]),
        "num_decoder_layers": dice.choice([1, 2, 3]),
        "num_heads": heads,
        "relative_attention_num_buckets": dice.choice([4, 8, 32]),
        "relative_attention_max_distance": dice.choice([17, 128]),
        "layer_norm_epsilon": dice.choice([1e-6, 1e-3]),
        "feed_forward_proj": dice.choice(["relu", "gated-gelu", "gated-silu", "gated-relu", "gelu"]),
        "tie_word_embeddings": dice.random() < 0.5,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def t5gemma(dice: random.Random) -> PreTrainedModel:
    """T5Gemma: sides of different shapes, windows below a row's length, caps or none."""
    shared = {
        "head_dim": dice.choice([4, 6, 8]),
        "hidden_activation": dice.choice(["gelu_pytorch_tanh", "gelu", "silu", "relu"]),
        "rms_norm_eps": dice.choice([1e-6, 1e-3]),
        "query_pre_attn_scalar": dice.choice([3, 8, 256]),
        "rope_parameters": {"rope_type": "default", "rope_theta": dice.choice([10000.0, 100.0, 1e6])},
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    sides = [shared | t5gemma_side(dice) for _ in range(2)]
    if dice.random() < 0.5:
        sides[1] |= {name: sides[0][name] for name in ("hidden_size", "num_attention_heads", "num_key_value_heads")}
    config = transformers.T5GemmaConfig(
        encoder=sides[0],
        decoder=sides[1],
        vocab_size=sides[1]["vocab_size"],
        tie_word_embeddings=dice.random() < 0.5,
        attn_implementation="eager",
    )
    return transformers.T5GemmaForConditionalGeneration(config)


def t5gemma_side(dice: random.Random) -> dict[str, Any]:
    layers, heads = dice.choice([1, 2, 3]), dice.choice([1, 2, 4])
    kinds = ["sliding_attention", "full_attention"]
    return {
        "vocab_size": dice.choice([40, 60]),
        "hidden_size": dice.choice([12, 16, 20]),
        "intermediate_size": dice.choice([14, 24]),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": dice.choice([count for count in (1, 2, 4) if heads % count == 0]),
        "layer_types": dice.choice([None, [dice.choice(kinds) for _ in range(layers)]]),
        "sliding_window": dice.choice([1, 2, 3, 5, 4096]),
        "attn_logit_softcapping": dice.choice([None, 2.0, 50.0]),
        "final_logit_softcapping": dice.choice([None, 3.0, 30.0]),
        "max_position_embeddings": dice.choice([32, 50]),
    }


def t5gemma2(dice: random.Random) -> PreTrainedModel:
    """T5Gemma 2, its text: windows below a row's length, rotary positions by kind of layer, tied tables or three."""
    shared = {
        "vocab_size": dice.choice([40, 60]),
        "hidden_size": dice.choice([16, 24]),
        "head_dim": dice.choice([4, 6, 8]),
        "hidden_activation": dice.choice(["gelu_pytorch_tanh", "gelu", "silu", "relu"]),
        "rms_norm_eps": dice.choice([1e-6, 1e-3]),
        "query_pre_attn_scalar": dice.choice([3, 8, 256]),
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    encoder, decoder = (shared | t5gemma2_side(dice) for _ in range(2))
    side, pool = dice.choice([(2, 1), (2, 2), (4, 2), (3, 3)])  # patches of an image, and of a vector in the text
    vision = {
        "hidden_size": dice.choice([8, 12]),
        "intermediate_size": dice.choice([8, 14]),
        "num_hidden_layers": dice.choice([1, 2]),
        "num_attention_heads": dice.choice([1, 2]),
        "patch_size": dice.choice([2, 3]),
        "hidden_act": dice.choice(["gelu_pytorch_tanh", "gelu", "relu"]),
        "layer_norm_eps": dice.choice([1e-6, 1e-3]),
        "vision_use_head": dice.random() < 0.5,
    }
    vision["image_size"] = side * vision["patch_size"] + dice.choice([0, 1])
    config = transformers.T5Gemma2Config(
        encoder={
            "text_config": encoder,
            "vision_config": vision,
            "mm_tokens_per_image": (side // pool) ** 2,
            "boi_token_index": 38,
            "eoi_token_index": 7,  # among the ids of the rows
        },
        decoder=decoder | {"final_logit_softcapping": dice.choice([None, 3.0, 30.0])},
        image_token_index=39,
        tie_word_embeddings=dice.random() < 0.5,
        attn_implementation="eager",
    )
    return transformers.T5Gemma2ForConditionalGeneration(config)


def t5gemma2_side(dice: random.Random) -> dict[str, Any]:
    layers, heads = dice.choice([1, 2, 3]), dice.choice([1, 2, 4])
    kinds = ["sliding_attention", "full_attention"]
    stretched = dice.random() < 0.5
    return {
        "intermediate_size": dice.choice([14, 24]),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": dice.choice([count for count in (1, 2, 4) if heads % count == 0]),
        "layer_types": dice.choice([None, [dice.choice(kinds) for _ in range(layers)]]),
        "sliding_window": dice.choice([1, 2, 3, 4, 5, 4096]),
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": dice.choice([10000.0, 50.0])},
            "full_attention": {"rope_theta": dice.choice([1e6, 100.0])}
            | ({"rope_type": "linear", "factor": 8.0} if stretched else {"rope_type": "default"}),
        },
        "max_position_embeddings": dice.choice([32, 50]),
    }


def untied(model: PreTrainedModel, dice: random.Random) -> PreTrainedModel:
    """A separate output table, half of the time."""
    if dice.random() < 0.5:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    return model


def fairseq_settings(dice: random.Random) -> dict[str, Any]:
    heads = dice.choice([1, 2, 4])
    return {
        "vocab_size": dice.choice([40, 60]),
        "d_model": dice.choice([16, 24]),
        "encoder_layers": dice.choice([1, 2, 3]),
        "decoder_layers": dice.choice([1, 2, 3]),
        "encoder_attention_heads": heads,
        "decoder_attention_heads": dice.choice([heads, 2]),
        "encoder_ffn_dim": dice.choice([14, 24]),
        "decoder_ffn_dim": dice.choice([14, 24]),
        "max_position_embeddings": dice.choice([32, 50]),
        "activation_function": dice.choice(["gelu", "relu", "gelu_new", "swish"]),
        "scale_embedding": dice.random() < 0.5,
    }


def bart(dice: random.Random) -> PreTrainedModel:
    """BART, with or without a bias on the logits, a forced first token and a forced end."""
    settings = fairseq_settings(dice) | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    model = transformers.BartForConditionalGeneration(transformers.BartConfig(**settings, decoder_start_token_id=2))
    return searched(biased(model, dice), dice, first=0, last=2)


def marian(dice: random.Random) -> PreTrainedModel:
    """Marian, with one vocabulary or two."""
    settings = fairseq_settings(dice) | {"eos_token_id": 0}
    shared = dice.random() < 0.5
    target = settings["vocab_size"] if shared else 40
    model = transformers.MarianMTModel(
        transformers.MarianConfig(
            **settings,
            decoder_vocab_size=target,
            share_encoder_decoder_embeddings=shared,
            pad_token_id=39,
            decoder_start_token_id=39,
        )
    )
    return searched(biased(model, dice), dice, first=None, last=0)


def line(kind: str, dice: random.Random, **ids: int) -> PreTrainedModel:
    """Another member of the fairseq line, by the beginning of its classes' names."""
    config = getattr(transformers, f"{kind}Config")(**fairseq_settings(dice), **ids)
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config)


def mbart(dice: random.Random) -> PreTrainedModel:
    """mBART: a language, id 7 here, before every answer."""
    model = line("MBart", dice, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2)
    return searched(biased(model, dice), dice, first=7, last=2)


def blenderbot(dice: random.Random) -> PreTrainedModel:
    """BlenderBot."""
    model = line("Blenderbot", dice, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
    # A setting of its search that ours has not; its default is on.
    model.config.encoder_no_repeat_ngram_size = model.generation_config.encoder_no_repeat_ngram_size = 0
    return searched(biased(model, dice), dice, first=None, last=2)


def pegasus(dice: random.Random) -> PreTrainedModel:
    """Pegasus."""
    model = line("Pegasus", dice, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
    return searched(biased(model, dice), dice, first=None, last=1)


def m2m_100(dice: random.Random) -> PreTrainedModel:
    """M2M-100 and NLLB: a language, id 7 here, before every answer."""
    model = line("M2M100", dice, pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2)
    return searched(model, dice, first=7, last=2)


def biased(model: PreTrainedModel, dice: random.Random) -> PreTrainedModel:
    """A bias on the logits, half of the time."""
    if dice.random() < 0.5:
        model.final_logits_bias.normal_(generator=torch.Generator().manual_seed(dice.randrange(1000)))
    return model


def searched(model: PreTrainedModel, dice: random.Random, *, first: int | None, last: int) -> PreTrainedModel:
    """Forced ids, in generation_config.json, half of the time."""
    settings = model.generation_config
    settings.forced_bos_token_id = first if dice.random() < 0.5 else None
    settings.forced_eos_token_id = last if dice.random() < 0.5 else None
    model.config.forced_eos_token_id = None
    return model


def make(build: Make, seed: int, folder: Path) -> PreTrainedModel:
    """A random checkpoint in `folder`, with a tokenizer; the model in evaluation mode, without its types."""
    model = build(random.Random(seed)).eval()
    randomize(model, seed)
    model.save_pretrained(folder)
    write_tokenizer(folder, model)
    return model


def write_tokenizer(folder: Path, model: PreTrainedModel) -> None:
    """Some words, fewer than the table has rows; the special ids where the model has them."""
    config = model.config
    specials = {config.pad_token_id: "<pad>", config.eos_token_id: "</s>"}
    if (begin := getattr(config, "bos_token_id", None)) is not None:
        specials.setdefault(begin, "<s>")
    vocabulary = {specials.get(id, f"w{id}"): id for id in range(40)}
    rust = RustTokenizer(WordLevel(vocabulary, unk_token="w5"))
    rust.add_special_tokens(list(specials.values()))
    rust.save(str(folder / "tokenizer.json"))


FAMILIES: dict[str, Make] = {
    "t5": t5, "mt5": mt5, "umt5": umt5, "longt5": longt5, "t5gemma": t5gemma, "t5gemma2": t5gemma2,
    "bart": bart, "mbart": mbart, "blenderbot": blenderbot, "marian": marian, "pegasus": pegasus, "m2m_100": m2m_100,
}  # fmt: skip
