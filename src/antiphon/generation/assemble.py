"""Builds the parts of a model from a network built by hand and its tokenizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.errors import ModelError
from antiphon.models.by_hand.describe import SpecialIds, describe
from antiphon.models.folders.checkpoint import Parts
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.settings import build, inside, show
from antiphon.text import CLASSIFICATION, Tokenizer, load_task

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
    """The parts of a model. A network inside `torch.compile` or DistributedDataParallel is unwrapped.

    ModelError if the network, the tokenizers and the labels do not match.
    """
    network = unwrapped(network)
    source, target = tokenizer_pair(tokenizer, target_tokenizer)
    for what, side, size in zip(("source", "target"), (source, target), network.table_sizes, strict=True):
        if side.vocab_size > size and (what == "target" or network.source.vocab_size is not None):
            raise ModelError(
                f"the {what} embeddings must have a row for each of the tokenizer's {side.vocab_size} ids, but have "
                f"{size}. Make the table with `tokenizer.vocab_size` rows."
            )
    with inside("generation"):
        config = (
            generation
            if isinstance(generation, GenerationConfig)
            else build(GenerationConfig, {} if generation is None else generation)
        )
    ids = SpecialIds(target.pad_id, target.start_id, target.end_id)
    named = named_labels(labels)
    check_task(task, named)
    try:
        sizes = (source.vocab_size, target.vocab_size)
        model, attention = describe(network, ids=ids, sizes=sizes, one_tokenizer=source.shares(target))
        problem = ""
    except ModelError as error:
        model, attention, problem = ModelConfig(max_length=network.max_length), AttentionConfig(), str(error)
    return Parts(network, model, attention, source, target, task, config, named, problem=problem)


def named_labels(labels: Labels) -> dict[str, str]:
    """The answer for each label of the data; ModelError for anything but texts that are not empty."""
    given: Any = labels
    if not isinstance(given, str | bytes) and isinstance(given, Mapping | Sequence):
        named = dict(given) if isinstance(given, Mapping) else {label: label for label in given}
        if all(isinstance(text, str) and text.strip() for pair in named.items() for text in pair):
            return named
    raise ModelError(f"`labels` must be a list of texts, or a mapping of labels to their names, but is {show(given)}.")


def check_task(task: str, labels: Mapping[str, str]) -> None:
    """ConfigError for an unknown task, ModelError for a classification without labels. A `module:name` is not
    imported."""
    if not isinstance(task, str):
        raise ModelError(f"`task` must be a text, but is {show(task)}.")
    if task == CLASSIFICATION and not labels:
        raise ModelError("`labels` must hold the answers of a classification, but is empty. Name them.")
    if task != CLASSIFICATION and labels:
        raise ModelError(f"`labels` must be left out, but is given: the task is `{task}`, no classification.")
    if ":" not in task:
        load_task(task)


def unwrapped(network: nn.Module) -> EncoderDecoder:
    """The EncoderDecoder inside PyTorch's wrapper modules; ModelError if there is none."""
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
