"""The teacher of distillation: loading, checks against the student, and copying of its layers into the student."""

from __future__ import annotations

import re

import torch

from antiphon.config import TrainConfig
from antiphon.errors import ModelError
from antiphon.generation.ensemble import same_tokenizer
from antiphon.generation.load import load
from antiphon.generation.model import Model
from antiphon.models.folders.checkpoint import named_weights
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.search.special_tokens import SpecialTokens
from antiphon.settings import SettingError
from antiphon.text import Tokenizer

SECTION = ("training", "distillation")
STACKS = ("encoder", "decoder")
_LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.")


def load_teacher(
    config: TrainConfig, student: EncoderDecoder, source: Tokenizer, target: Tokenizer, special_tokens: SpecialTokens
) -> EncoderDecoder | None:
    """The teacher network of `config`, on the student's device; an ensemble if there are several. None without one.

    `special_tokens` are those of the student. The teacher reads the same batches, so its start, end and forced
    first tokens must be equal. With `copy_layers` the student is initialized with layers of the teacher. SettingError
    if the model does not exist or does not match the student.
    """
    settings = config.training.distillation
    if settings is None or not (settings.weight or settings.copy_layers):
        return None
    title = "` and `".join(settings.teachers)
    try:
        model = load(settings.teachers, device=student.device)
    except ModelError as error:
        raise SettingError((*SECTION, "teacher"), f"cannot be used: {str(error).rstrip('.')}") from None
    if not isinstance(model, Model):
        raise SettingError(
            (*SECTION, "teacher"),
            f"must be a model of a family of ours, but `{title}` is one that transformers computes",
            remedy="Name another model.",
        )
    for side, own, theirs in (
        ("target", target, model.target_tokenizer),
        ("source", source, model.source_tokenizer),
    ):
        if not same_tokenizer(own, theirs):
            raise SettingError(
                (*SECTION, "teacher"),
                f"must share the student's {side} tokenizer, but that of `{title}` ({theirs.vocab_size:,} ids) and "
                f"the recipe's ({own.vocab_size:,} ids) differ",
                remedy="Set `tokenizer.kind` to the path of the tokenizer in the teacher's folder.",
            )
    for name in ("start", "first", "end"):
        mine, other = _shown(getattr(special_tokens, name)), _shown(getattr(model.special_tokens, name))
        if mine != other:
            raise SettingError(
                (*SECTION, "teacher"),
                f"must begin and end answers as the student does, but `{name}` is {other} in `{title}` and {mine} in "
                "the student",
                remedy="Set `model.base` to a model of the teacher's family.",
            )
    longest = config.data.max_length or student.max_length
    if model.network.max_length < longest:
        raise SettingError(
            (*SECTION, "teacher"),
            f"must read rows of {longest} tokens, as the student does, but `{title}` reads {model.network.max_length}",
            remedy="Lower `data.max_length`.",
        )
    if settings.copy_layers:
        copy_spread(student, model.network, title=title)
    return model.network if settings.weight else None


def _shown(ids: int | tuple[int, ...]) -> str:
    """Special ids as text for a message."""
    return str(ids) if isinstance(ids, int) else ", ".join(map(str, ids)) or "none"


def copy_spread(student: EncoderDecoder, teacher: EncoderDecoder, *, title: str) -> None:
    """Copy the weights of `teacher` to `student`: layer i of n gets the teacher's layer i·(N − 1)/(n − 1), rounded.

    So the first and last layers are the teacher's first and last, and a deeper student has some layers twice. Shleifer
    and Rush 2020, Pre-trained Summarization Distillation, section 3, who copy to fewer layers. SettingError if shapes
    differ.
    """
    theirs = named_weights(teacher)
    sizes = {role: (len(getattr(student, role).layers), len(getattr(teacher, role).layers)) for role in STACKS}

    def spread(match: re.Match[str]) -> str:
        mine, whole = sizes[match[1]]
        return f"{match[1]}.layers.{round(int(match[2]) * (whole - 1) / max(1, mine - 1))}."

    with torch.no_grad():
        for name, weight in named_weights(student).items():
            found = theirs.get(_LAYER.sub(spread, name))
            if found is None or found.shape != weight.shape:
                there = "is not in" if found is None else f"is {tuple(found.shape)} in"
                raise SettingError(
                    (*SECTION, "copy_layers"),
                    f"needs a student of the teacher's width and kinds, but `{name}`, {tuple(weight.shape)}, {there} "
                    f"`{title}`",
                    remedy="Set `model` and `attention` alike but for the numbers of layers, or drop it.",
                )
            weight.copy_(found)
