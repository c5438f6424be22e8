"""What can be written in ONNX; anything else is refused by its name, before a file is written."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from antiphon.errors import ModelError, one_line
from antiphon.generation.ensemble import Ensemble
from antiphon.generation.model import Model
from antiphon.generation.quantize import check_whole
from antiphon.generation.translator import Translator
from antiphon.models.families import Inexpressible
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.vision import ImageTextEmbedding
from antiphon.nn.attention import Attention
from antiphon.nn.mixers import Delta, Mixer
from antiphon.nn.mixers.recurrence import Recurrence
from antiphon.nn.mixers.torch_multihead import TorchAttention
from antiphon.nn.rules import name_of

SUPPORTED = (
    "Supported are dot-product attention under every built-in rule, rules and functions of your own whose operators "
    "ONNX has, additive, sigmoid and differential attention, and linear attention outside of the decoder."
)


def check_supported(model: Translator) -> Model:
    """The model, if its parts can be exported; ModelError, which names the part, if not."""
    if not isinstance(model, Model):
        raise ModelError("a model that transformers computes cannot be exported here. Use optimum's exporter.")
    check_whole(model.network, "an export")
    if isinstance(model.network, Ensemble):
        raise ModelError("one model is exported at a time, but this is an ensemble. Export its members.")
    if not model.input_kind.has_tokens:
        raise Inexpressible("a model of images or sound cannot be written in ONNX: its source is no text.", SUPPORTED)
    adapter = next((name for name, _ in model.network.named_parameters() if ".lora_" in name), None)
    if adapter is not None:
        raise Inexpressible(
            f"an adapter (`{adapter:.80}`) cannot be written in ONNX.",
            "Save the model, which merges it, and load that.",
        )
    found = next(parameter.dtype for parameter in model.network.parameters())
    if found != torch.float32:
        raise ModelError(
            f"a model is exported in float32, but this one is {str(found).removeprefix('torch.')}. Load it without "
            "`dtype`; int8 is `quantize`."
        )
    for role, mixer in mixers_of(model.network):
        refused = _refused(role, mixer)
        if refused:
            raise Inexpressible(f"{mixer.called} of the {role} cannot be written in ONNX: {refused}.", SUPPORTED)
    if isinstance(model.network.source, ImageTextEmbedding):
        warnings.warn(
            "the vision encoder is left out of the ONNX files, which answer texts alone. Answer images with the model "
            "itself.",
            stacklevel=3,
        )
    return model


def mixers_of(network: EncoderDecoder) -> list[tuple[str, Mixer]]:
    """The mixers of all layers with their roles."""
    layers: tuple[Any, Any] = (network.encoder.layers, network.decoder.layers)
    found: list[tuple[str, Mixer]] = [("encoder", layer.mixer) for layer in layers[0]]
    for layer in layers[1]:
        found += [("decoder", layer.mixer), ("cross-attention", layer.cross)]
    return found


def _refused(role: str, mixer: Mixer) -> str | None:
    """Why a mixer cannot be exported; None if it can, as far as its kind tells."""
    if isinstance(mixer, Delta):
        return "it solves a triangular system for each chunk of tokens"
    if isinstance(mixer, Recurrence) and role == "decoder":
        return "its number of chunks depends on the length"
    if isinstance(mixer, TorchAttention):
        return "torch.nn.MultiheadAttention has no cache"
    return None


def refuse_part(model: Model, error: Exception) -> Inexpressible:
    """The refusal of a model that could not be traced, with the parts that are not built in."""
    own = sorted({_name(mixer) for _, mixer in mixers_of(model.network) if _is_own(mixer)})
    what = f"{' and '.join(own)} cannot" if own else "the model cannot"
    reason = one_line(error).partition(" The following call raised")[0]
    return Inexpressible(f"{what} be written in ONNX ({type(error).__name__}: {reason:.200}).", SUPPORTED)


def _name(mixer: Mixer) -> str:
    return name_of(mixer.rule) if isinstance(mixer, Attention) else mixer.called


def _is_own(mixer: Mixer) -> bool:
    """Whether a mixer, or a part of its rule, is not one of ours."""
    parts = [mixer.rule, *mixer.rule.modules()] if isinstance(mixer, Attention) else [mixer]
    wrapped = [getattr(mixer, "kind", None), getattr(mixer, "function", None)]
    kinds = [type(part) for part in parts] + [
        each for each in wrapped if each is not None and not isinstance(each, str)
    ]
    return any(not getattr(kind, "__module__", "antiphon").startswith("antiphon.") for kind in kinds)
