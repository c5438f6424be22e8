"""`Model.ctc_alignment`: which frames of a source belong to which tokens of a text, by the model's CTC head.

found = model.ctc_alignment("clips/seven.wav", "seven")
found.tokens, found.starts, found.ends     # ['sev', 'en'], [3, 9], [7, 14]
found.times                                # of sound: [(0.12, 0.28), (0.36, 0.56)] seconds
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.batch import pad
from antiphon.config import GenerationConfig
from antiphon.errors import DataError, ModelError
from antiphon.generation.protocols import AnsweringModel
from antiphon.inputs.limits import source_limit
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.ctc import align, best_path
from antiphon.runtime.inference import evaluating
from antiphon.settings import show
from antiphon.text import clean_text


@dataclass(frozen=True)
class CTCAlignment:
    """The most probable path of a text through the frames of a source, which are the positions of the encoder's output.

    Token i has the frames from `starts[i]` up to, without, `ends[i]` of the source's `frames`; blanks are between.
    `probabilities` are the tokens' geometric means over their frames, `score` is the log-probability of the path.
    """

    text: str
    tokens: list[str]
    starts: list[int]
    ends: list[int]
    probabilities: list[float]
    frames: int
    score: float
    frame_seconds: float | None = None
    """Seconds of sound of a frame; None for other sources."""

    @property
    def times(self) -> list[tuple[float, float]] | None:
        """The beginning and the end of each token in seconds; None for sources that are no sound."""
        step = self.frame_seconds
        if step is None:
            return None
        return [(round(i * step, 6), round(j * step, 6)) for i, j in zip(self.starts, self.ends, strict=True)]


def ctc_alignment_of(
    model: AnsweringModel, source: object, target: str | None, *, config: GenerationConfig
) -> CTCAlignment:
    """The alignment of one source and `target`; None: of the text that the frames spell without the decoder."""
    network, tokenizer = model.network, model.target_tokenizer
    if not isinstance(network, EncoderDecoder) or network.ctc is None:
        raise ModelError(
            "a CTC alignment needs a single model with a CTC head, but this one has none. Train one with "
            "`model.ctc: true`."
        )
    if target is not None and not isinstance(target, str):
        raise DataError(f"`target` must be one text, but is {show(target)}.")
    row = _whole(model, source, config)
    with evaluating(network):
        ids, tokens = pad([row], pad_id=model.special_tokens.pad)
        tokens = tokens.to(network.device)
        memory = network.encode(ids.to(network.device), tokens, window=source_limit(network, config))
        frames = network.frames(memory)
    log_p = frames.log_p[0, : int(frames.lengths[0])].cpu()
    if target is None:
        labels = [id for id in best_path(log_p) if tokenizer.visible([id])]
    else:
        labels = tokenizer.visible(tokenizer.encode(clean_text(target)))
    path = align(log_p, labels)
    if path is None:
        raise DataError(
            f"`target` must have at most as many tokens as its source has frames, and a frame between equal ones, but "
            f"has {len(labels)} tokens for {len(log_p)} frames. Shorten it, or give its own source."
        )
    means = [math.exp(value) for value in path.log_p]
    text = tokenizer.decode(labels) if target is None else target
    pieces, step = tokenizer.pieces(labels), model.input_kind.position_seconds
    return CTCAlignment(text, pieces, path.starts, path.ends, means, len(log_p), path.score, step)


def _whole(model: AnsweringModel, source: object, config: GenerationConfig) -> Any:
    """The network's input for one source. DataError for several, an empty one, and one that is too long."""
    kind = model.input_kind
    rows: Sequence[Any] = kind.read(source, "source", template=config.template)
    if len(rows) != 1 or kind.is_empty(rows[0]):
        raise DataError(f"`source` must be one source that is not empty, but is {show(source)}.")
    return kind.whole(rows, network=model.network, config=config)[0]
