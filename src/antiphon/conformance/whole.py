"""Laws of whole models: saving and loading, tracing, and search."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from antiphon.batch import Tokens
from antiphon.config import AttentionConfig, GenerationConfig
from antiphon.conformance.meter import OUTPUT, DifferenceMeter, Skip
from antiphon.conformance.scoring import places
from antiphon.conformance.subject import (
    D_MODEL,
    HEAD_DIM,
    HEADS,
    AttentionUnit,
    Subject,
    draw,
    model_config,
    ordered,
    padded,
)
from antiphon.models.folders.checkpoint import CONFIG, Parts, load_parts, save_model_folder
from antiphon.models.folders.files import read_config
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.attention import Attention
from antiphon.nn.mixers import Memory
from antiphon.nn.rules import ScoreRule, TermTable, parts_of, score_after
from antiphon.nn.state import DecoderState
from antiphon.search.engine import SourceInput, answer, forced_scores, stream
from antiphon.search.hypotheses import Hypothesis
from antiphon.search.special_tokens import SpecialTokens
from antiphon.text import Tokenizer, train_tokenizer

SPECIAL_TOKENS = SpecialTokens(pad=0, start=1, end=2)
SOURCES = [[5, 6, 7, 4, 2], [9, 8, 2]]
SEARCHES: dict[str, dict[str, object]] = {
    "greedy search": {"beam_size": 1},
    "beam search": {"beam_size": 3, "n_best": 2},
    "sampling": {"temperature": 0.8, "n_best": 2, "seed": 1},
}


def saved(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """a saved and loaded model has the same settings and answers"""
    if subject.part.spec is None:
        raise Skip("it has no name that a model folder could hold: register it, or define it in a module")
    tokenizer = _tokenizer()
    network = subject.network(role, seed=3, vocabulary=tokenizer.vocab_size, shared=True).float()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    parts = Parts(
        network, model_config({}), subject.config(role), tokenizer, tokenizer, "translation", GenerationConfig()
    )
    with tempfile.TemporaryDirectory() as folder:
        save_model_folder(folder, parts)
        named = AttentionConfig(**read_config(Path(folder), CONFIG)["attention"])
        loaded = load_parts(folder, attention=named).network
    source, target = torch.tensor([[5, 9, 6, 7, 8, 5, 2]]), torch.tensor([[1, 9, 3, 4, 4, 6, 5, 7]])
    outs = []
    for each in (loaded, network):
        with torch.no_grad():
            memory = each.encode(source, ordered(7))
            outs.append(each.decode(target, ordered(8), memory, None)[0])
    what = f"saved as {json.dumps(getattr(named, role))} and loaded"
    meter.equal(outs[0], outs[1], axes=OUTPUT, what=what, tolerance=0)


@cache
def _tokenizer() -> Tokenizer:
    return train_tokenizer(["in 3 hours"], kind="bytes", vocab_size=260)


def trace(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """it is traced for compilation without a graph break"""
    # First on the meta device, which behaves like a GPU: on a CPU a mask that hides nothing is left out.
    fault = _untraced(subject, role, "meta")
    if fault is not None and (subject.is_rule or _untraced(subject, role, "cpu") is not None):
        meter.fail(fault)


def _untraced(subject: Subject, role: str, device: str) -> str | None:
    """The reason why it cannot be traced on a device; None if it can."""
    unit = subject.unit(role).to(device)
    if subject.is_rule:
        assert isinstance(unit.mixer, Attention)
        inputs, traced = [draw(2, HEADS, 3, 4), draw(2, HEADS, 3, HEAD_DIM), *places(2, 3, 4)], _hooks(unit.mixer.rule)
    else:
        tokens, memory = padded(5, 3), unit.memory(2, 4)
        inputs, traced = [draw(2, 5, D_MODEL), tokens.pos], _forward(unit)
        inputs += [] if memory is None else [memory.hidden, memory.tokens.pos]
    torch.compiler.reset()
    try:
        torch.compile(traced, backend="eager", fullgraph=True)(*(part.to(device) for part in inputs))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {' '.join(lines[:3])}"
    finally:
        torch.compiler.reset()
    return None


def _hooks(rule: ScoreRule) -> Callable[..., list[Tensor | None]]:
    """A function that calls all methods of a rule."""

    def run(score: Tensor, q: Tensor, batch: Tensor, head: Tensor, q_pos: Tensor, k_pos: Tensor) -> list[Tensor | None]:
        q = rule.prepare_q(q, q_pos)
        k = rule.prepare_k(q, q_pos)
        terms = [part.terms(q) for part in parts_of(rule)]
        tables = [None if each is None else TermTable(each) for each in terms]
        where = (batch, head, q_pos, k_pos)
        return [q, k, rule.mask(*where), score_after(rule, score, where, tables), rule.extra()]

    return run


def _forward(unit: AttentionUnit) -> Callable[..., Tensor]:
    def run(x: Tensor, pos: Tensor, *memory: Tensor) -> Tensor:
        return unit(x, Tokens(pos), Memory(memory[0], Tokens(memory[1])) if memory else None)

    return run


class UncachedState(DecoderState):
    """A decoder state that holds only the ids of each hypothesis so far, (R, T)."""

    def __init__(self, ids: Tensor, *, width: int) -> None:
        self.ids, self.layers, self.width = ids, [], width

    def reorder(self, index: Tensor) -> None:
        self.ids = self.ids.index_select(0, index)

    def drop(self, keep: Tensor) -> None:
        self.ids = self.ids.view(-1, self.width, self.ids.shape[1])[keep].flatten(0, 1)


class UncachedNetwork(nn.Module):
    """A network that recomputes whole rows in every step of a search."""

    def __init__(self, network: EncoderDecoder) -> None:
        super().__init__()
        self.network, self.max_length, self.frozen = network, network.max_length, False
        self.eval()

    @property
    def vocab_size(self) -> int:
        return self.network.vocab_size

    @property
    def device(self) -> torch.device:
        return self.network.device

    def encode(self, source: Tensor, tokens: Tokens, *, window: int | None = None) -> Memory:
        return self.network.encode(source, tokens, window=window)

    def begin(self, memory: Memory, *, width: int, capacity: int) -> DecoderState:
        rows = memory.hidden.shape[0] * width
        return UncachedState(torch.zeros(rows, 0, dtype=torch.long), width=width)

    def decode(
        self, target_ids: Tensor, tokens: Tokens, memory: Memory, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState | None]:
        if not isinstance(state, UncachedState):
            return self.network.decode(target_ids, tokens, memory, state)
        state.ids = torch.cat([state.ids, target_ids], 1)
        each = memory.select(torch.arange(memory.hidden.shape[0]).repeat_interleave(state.width))
        hidden, _ = self.network.decode(state.ids, ordered(state.ids.shape[1]), each, None)
        return hidden[:, -target_ids.shape[1] :], state

    def logits(self, hidden: Tensor) -> Tensor:
        return self.network.logits(hidden)


def search(subject: Subject, role: str, meter: DifferenceMeter) -> None:
    """every search gives the same answers without a cache, for a source alone, and streamed; scores are exact"""
    network = subject.network(role)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)  # so that sources have different answers, and hypotheses are reordered
    for what, settings in SEARCHES.items():
        config = GenerationConfig(max_new_tokens=5, **settings)  # type: ignore[arg-type]
        found = answer(network, SOURCES, config, SPECIAL_TOKENS)
        _same(
            found,
            answer(UncachedNetwork(network), SOURCES, config, SPECIAL_TOKENS),
            meter,
            f"{what} cached and uncached",
        )
        if what != "beam search":
            continue
        sources = [SourceInput(ids, row) for row, ids in enumerate(SOURCES)]
        alone = [answer(network, [source], config, SPECIAL_TOKENS)[0] for source in sources]
        _same(found, alone, meter, f"{what} in a batch and alone")
        streamed = [list(itertools.chain(*stream(network, source, config, SPECIAL_TOKENS))) for source in sources]
        if streamed != [row[0].ids for row in found]:
            meter.fail(f"{what} streamed and whole")
        pairs = [(source, row[0].ids) for source, row in zip(SOURCES, found, strict=True)]
        scores = torch.tensor([row[0].score for row in found], dtype=torch.float64)
        forced = torch.tensor(forced_scores(network, pairs, SPECIAL_TOKENS), dtype=torch.float64)
        meter.equal(scores, forced, axes=("source",), what=f"the score of {what} and of forced decoding")


def _same(found: list[list[Hypothesis]], expected: list[list[Hypothesis]], meter: DifferenceMeter, what: str) -> None:
    """Require that hypotheses have equal ids and scores."""
    for source, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        scores = [torch.tensor([each.score for each in row], dtype=torch.float64) for row in (mine, theirs)]
        meter.equal(*scores, axes=("hypothesis",), what=f"the scores of {what}, source {source}")
        if [each.ids for each in mine] != [each.ids for each in theirs]:
            meter.fail(f"the answers of {what}, source {source}: {mine[0].ids} and {theirs[0].ids}")
