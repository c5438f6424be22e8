"""From a network that was made by hand, and its tokenizers, to the parts of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.errors import ModelError
from antiphon.models.checkpoint import Parts
from antiphon.models.describe import Ids, describe
from antiphon.models.front import Front
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.settings import build, show
from antiphon.text import Tokenizer

Tokenizers = Tokenizer | Sequence[Tokenizer]
Labels = Sequence[str] | Mapping[str, str]


def assemble(
    network: nn.Module,
    tokenizer: Tokenizers,
    target_tokenizer: Tokenizer | None,
    *,
    task: str,
    labels: Labels,
    generation: GenerationConfig | Mapping[str, object] | None,
) -> Parts:
    """The parts of a model. A network inside `torch.compile` or DistributedDataParallel is taken out of it.

    ModelError where the network, the tokenizers and the labels do not go together.
    """
    network = unwrapped(network)
    source, target = tokenizer_pair(tokenizer, target_tokenizer)
    for what, side, size in zip(("source", "target"), (source, target), network.table_sizes, strict=True):
        if side.vocab_size > size and (what == "target" or isinstance(network.source, Front)):
            raise ModelError(
                f"the {what} embeddings must have a row for each of the tokenizer's {side.vocab_size} ids, but have "
                f"{size}. Make the table with `tokenizer.vocab_size` rows."
            )
    config = generation if isinstance(generation, GenerationConfig) else build(GenerationConfig, generation or {})
    ids = Ids(target.pad_id, target.start_id, target.end_id)
    named = dict(labels) if isinstance(labels, Mapping) else {label: label for label in labels}
    try:
        sizes = (source.vocab_size, target.vocab_size)
        model, attention = describe(network, ids=ids, sizes=sizes, one_tokenizer=source.shares(target))
        problem = ""
    except ModelError as error:
        model, attention, problem = ModelConfig(max_length=network.max_length), AttentionConfig(), str(error)
    return Parts(network, model, attention, source, target, task, config, named, problem=problem)


def unwrapped(network: nn.Module) -> EncoderDecoder:
    """The EncoderDecoder in what PyTorch wraps around a module; ModelError where there is none."""
    for name in ("_orig_mod", "module"):  # torch.compile, DistributedDataParallel
        inner = getattr(network, name, None)
        if not isinstance(network, EncoderDecoder) and isinstance(inner, nn.Module):
            return unwrapped(inner)
    if not isinstance(network, EncoderDecoder):
        raise ModelError(
            f"`network` must be an EncoderDecoder, but is {show(network)}. Build one from an Encoder and a Decoder, or "
            "load a saved model with `antiphon.load`."
        )
    return network


def tokenizer_pair(tokenizer: Tokenizers, target_tokenizer: Tokenizer | None = None) -> tuple[Tokenizer, Tokenizer]:
    """The tokenizer of the source and that of the target, from one for both sides, a pair, or two arguments."""
    given: Any = tokenizer
    found: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    found += [] if target_tokenizer is None else [target_tokenizer]
    for each in found:
        if not isinstance(each, Tokenizer):
            raise ModelError(f"`tokenizer` must be a Tokenizer, or a source's and a target's, but is {show(each)}.")
    if len(found) not in (1, 2):
        raise ModelError(f"a model must have one tokenizer or two, but was given {len(found)}.")
    return found[0], found[-1].as_target()
