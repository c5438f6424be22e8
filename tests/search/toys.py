"""Small random networks in float64 with every kind of attention, and a search in plain Python to compare with."""

from __future__ import annotations

import functools
import math
import random

import torch

from antiphon.batch import Tokens, pad
from antiphon.config import AttentionConfig, GenerationConfig, ModelConfig
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.mixers import Memory
from antiphon.search.hypotheses import Hypothesis
from antiphon.search.special_tokens import SpecialTokens

SPECIAL = SpecialTokens(pad=0, start=1, end=2)
VOCABULARY = 13
MODELS = {
    "paper": {"norm_placement": "post"},
    "rotary": {"positions": "rotary", "norm": "rms", "bias": False, "activation": "swiglu"},
    "alibi": {"positions": "alibi"},
    "relative": {"positions": "relative", "encoder_layers": 2, "decoder_layers": 1},
    "learned": {"positions": "learned", "activation": "gelu"},
    "none": {"positions": "none", "activation": "geglu"},
    "window": {"positions": "rotary"},
    "grouped": {"num_heads": 4, "num_kv_heads": 2, "positions": "alibi"},
    "multi-query": {"num_heads": 4, "num_kv_heads": 1, "head_dim": 6},
    "additive": {"positions": "learned"},
    "alternating": {"positions": "sinusoidal", "decoder_layers": 3},
}
ATTENTION = {
    "window": {"encoder": {"window": 3}, "decoder": {"window": 3}},
    "additive": {"encoder": "additive", "decoder": "additive", "cross": "additive"},
    "alternating": {"decoder": ["full", {"all": ["alibi", {"window": 2}]}], "cross": "full"},
}
NAMES = tuple(MODELS)


@functools.cache
def toy(
    name: str, *, seed: int = 0, vocabulary: int = VOCABULARY, max_length: int = 40, d_model: int = 16
) -> EncoderDecoder:
    """The network called `name`, with weights large enough that different sources have different answers."""
    settings = {"num_heads": 2, "encoder_layers": 1, "decoder_layers": 2, **MODELS[name]}
    model = ModelConfig(
        "tiny",
        d_model=d_model,
        ffn_dim=24,
        tie_embeddings=False,
        dropout=0.2,
        max_length=max_length,
        **{"positions": "sinusoidal", **settings},
    )
    attention = AttentionConfig(**ATTENTION.get(name, {}))
    network = build_network(
        model, attention, source_vocab=vocabulary, target_vocab=vocabulary, shared=False, seed=seed
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.7)
        network.output.weight[SPECIAL.end] *= 1.8  # so that many answers end by themselves
    return network.eval()


def source_of(dice: random.Random, *, longest: int = 9) -> list[int]:
    """Random source ids with their end."""
    return [*(dice.randrange(3, VOCABULARY) for _ in range(dice.randint(1, longest))), SPECIAL.end]


@torch.no_grad()
def encoded(network: EncoderDecoder, source: list[int]) -> Memory:
    """The memory of one source, alone and without padding."""
    return network.encode(*pad([source], pad_id=SPECIAL.pad))


@torch.no_grad()
def next_logits(
    network: EncoderDecoder, memory: Memory, rows: list[list[int]], *, start: int = SPECIAL.start
) -> list[list[float]]:
    """What the model says of the next token behind each of `rows`, all of one length; everything is computed anew but
    for the memory of the source, which no row changes."""
    memory = memory.select(torch.zeros(len(rows), dtype=torch.long))
    targets = torch.tensor([[start, *row] for row in rows])
    hidden, _ = network.decode(targets, Tokens(torch.arange(targets.shape[1])[None]), memory, None)
    return network.logits(hidden[:, -1]).tolist()


def log_softmax(logits: list[float]) -> list[float]:
    largest = max(logits)
    total = largest + math.log(sum(math.exp(logit - largest) for logit in logits))
    return [logit - total for logit in logits]


def next_log_p(network: EncoderDecoder, source: list[int], rows: list[list[int]]) -> list[list[float]]:
    """What the model says of the next token behind each of `rows`, as log-probabilities."""
    return [log_softmax(row) for row in next_logits(network, encoded(network, source), rows)]


def allowed(
    logits: list[float],
    ids: list[int],
    config: GenerationConfig,
    *,
    prefix: tuple[int, ...],
    forbidden: tuple[int, ...],
    special_tokens: SpecialTokens,
) -> dict[int, float]:
    """The scores of the tokens that may follow `ids`, by the definitions of the settings."""
    if len(ids) < len(prefix):
        return {prefix[len(ids)]: 0.0}
    factor, seen = config.repetition_penalty, {*ids, *([special_tokens.start] if special_tokens.published else [])}

    def scaled(values: list[float]) -> list[float]:
        times = [factor if value < 0 else 1 / factor for value in values]
        return [value * (times[id] if id in seen else 1.0) for id, value in enumerate(values)]

    on_logits = not special_tokens.published or config.beam_size == 1
    log_p = log_softmax(scaled(logits)) if on_logits else scaled(log_softmax(logits))
    found = {}
    size = config.no_repeat_ngram
    for token, value in enumerate(log_p):
        if token in forbidden or (token == SPECIAL.end and len(ids) - len(prefix) < config.min_new_tokens):
            continue
        ngrams = [tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)] if size else []
        if size and tuple([*ids, token][-size:]) in ngrams:
            continue
        found[token] = value
    return found


def penalty(config: GenerationConfig, length: int) -> float:
    return (length if config.length_penalty_kind == "average" else (5 + length) / 6) ** config.length_penalty


def plain_search(
    network: EncoderDecoder,
    source: list[int],
    config: GenerationConfig,
    *,
    prefix: tuple[int, ...] = (),
    forbidden: tuple[int, ...] = (SPECIAL.pad, SPECIAL.start),
    all_ended: bool = False,
    special_tokens: SpecialTokens = SPECIAL,
) -> list[Hypothesis]:
    """Beam search by lists that never stops before the limit; without a cache, from whole rows at every step.

    The prefix is in the score, and in no value, length or rank.
    """
    width = config.beam_size
    new = config.max_new_tokens or max(2 * len(source) + 32, config.min_new_tokens + 1)
    limit = len(prefix) + min(new, network.max_length - len(prefix))
    memory = encoded(network, source)
    open_: list[tuple[float, float, list[int]]] = [(0.0, 0.0, [])]  # value, score, ids
    ended: list[Hypothesis] = []
    while open_ and len(open_[0][2]) < limit:
        logits = next_logits(network, memory, [ids for _, _, ids in open_], start=special_tokens.start)
        candidates = []
        for lane, (value, score, ids) in enumerate(open_):
            log_p = log_softmax(logits[lane])
            may_follow = allowed(
                logits[lane], ids, config, prefix=prefix, forbidden=forbidden, special_tokens=special_tokens
            )
            for token, gain in may_follow.items():
                candidates.append((-(value + gain), lane, token, score + log_p[token], [*ids, token]))
        candidates.sort(key=lambda candidate: candidate[:3])
        if not candidates and not ended:
            ended = [
                Hypothesis(ids, score, value / penalty(config, len(ids) - len(prefix)), False)
                for value, score, ids in open_
            ]
        open_ = []
        for rank, (value, _, token, score, ids) in enumerate(candidates[: 2 * width if width > 1 else 1]):
            if token == SPECIAL.end:
                if rank < width:
                    ended.append(Hypothesis(ids, score, -value / penalty(config, len(ids) - len(prefix)), True))
            elif len(open_) < width:
                open_.append((-value, score, ids))
    ended += [
        Hypothesis(ids, score, value / penalty(config, len(ids) - len(prefix)), False) for value, score, ids in open_
    ]
    ended.sort(key=lambda hypothesis: -hypothesis.rank)
    return ended if all_ended else ended[: config.n_best]


def assert_same(found: list[Hypothesis], expected: list[Hypothesis], *, tolerance: float = 1e-10) -> float:
    """The same answers in the same order; the largest difference of a score or rank."""
    assert [hypothesis.ids for hypothesis in found] == [hypothesis.ids for hypothesis in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert math.isclose(mine.score, theirs.score, rel_tol=tolerance, abs_tol=tolerance)
        assert math.isclose(mine.rank, theirs.rank, rel_tol=tolerance, abs_tol=tolerance)
        assert mine.finished == theirs.finished
    pairs = list(zip(found, expected, strict=True))
    return max((max(abs(a.score - b.score), abs(a.rank - b.rank)) for a, b in pairs), default=0.0)
