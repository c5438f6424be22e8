"""Sources in, hypotheses out, in the order of the sources: for files, evaluation, and validation during training.

    hypotheses = answer(network, [[5, 6, 2]], GenerationConfig(beam_size=4), SpecialTokens(pad=0, start=1, end=2))
    hypotheses[0][0].ids, hypotheses[0][0].score

Sources run in batches of similar length. Each leaves its batch as soon as it is finished, and waiting ones join. An
answer does not depend on the other sources of its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from antiphon.batch import Example, collate
from antiphon.config import GenerationConfig
from antiphon.inputs.limits import source_limit
from antiphon.models.protocol import Seq2Seq
from antiphon.runtime.inference import evaluating, label_log_p, sum_type
from antiphon.runtime.runtime import Runtime
from antiphon.search.batching import batches
from antiphon.search.config import SearchConfig, search_config
from antiphon.search.hypotheses import Hypothesis
from antiphon.search.length_checks import check_length
from antiphon.search.next_token.sampling import not_numbers
from antiphon.search.requests import Request, SourceInput, make_request
from antiphon.search.running import SearchEngine, SearchJob
from antiphon.search.special_tokens import SpecialTokens


def answer(
    network: Seq2Seq | Runtime,
    sources: Sequence[SourceInput | list[int] | Tensor],
    config: GenerationConfig,
    special_tokens: SpecialTokens,
) -> list[list[Hypothesis]]:
    """For each source its hypotheses, best first, at most `config.n_best`.

    DataError if a source has more ids than the model takes (`source_limit`).
    """
    runtime = Runtime.of(network)
    inputs = [
        source if isinstance(source, SourceInput) else SourceInput(source, row) for row, source in enumerate(sources)
    ]
    engine = SearchEngine(runtime)
    jobs = [add_source(engine, source, config, special_tokens) for source in inputs]
    while engine.busy:
        for result in engine.step():
            if result.error is not None:
                raise result.error
    return [job.hypotheses or [] for job in jobs]


def add_source(
    engine: SearchEngine,
    source: SourceInput,
    config: GenerationConfig,
    special_tokens: SpecialTokens,
    *,
    streams: bool = False,
) -> SearchJob:
    """Put in the request for a source, with the user's settings; the errors of `answer` are raised here."""
    network = engine.runtime.network
    request = make_request(source, config, network=network, first=special_tokens.first)
    # Prompts of one length are searched together: the search needs their ids in the requests alone.
    alike = replace(special_tokens, first=(special_tokens.pad,) * len(special_tokens.first))
    search_settings = search_config(config, alike, window=source_limit(network, config))
    return engine.add(request, search_settings, streams=streams, batch_size=config.batch_size)


def stream(
    network: Seq2Seq | Runtime, source: SourceInput, config: GenerationConfig, special_tokens: SpecialTokens
) -> Iterator[list[int]]:
    """The ids of the best hypothesis of one source, in runs, each as soon as it is certain.

    An id is certain when every hypothesis that can still be the best has it at its position. The errors of `answer` are
    raised before the first run.
    """
    engine = SearchEngine(network)
    add_source(engine, source, config, special_tokens, streams=True)

    def run() -> Iterator[list[int]]:
        while engine.busy:
            for result in engine.step():
                if result.error is not None:
                    raise result.error
                if result.ids:
                    yield result.ids

    return run()


def forced_scores(
    network: Seq2Seq,
    pairs: Sequence[tuple[list[int] | Tensor, list[int]]],
    special_tokens: SpecialTokens,
    *,
    batch_size: int | None = None,
    window: int | None = None,
) -> list[float]:
    """For each pair of a source and a target the sum of the target's log-probabilities, see `forced_log_p`."""
    found = forced_log_p(network, pairs, special_tokens, batch_size=batch_size, window=window)
    return [float(log_p.sum()) for log_p in found]


def forced_log_p(
    network: Seq2Seq,
    pairs: Sequence[tuple[list[int] | Tensor, list[int]]],
    special_tokens: SpecialTokens,
    *,
    batch_size: int | None = None,
    window: int | None = None,
) -> list[Tensor]:
    """For each pair of a source and a target the log-probabilities (L,) of the target's tokens (teacher forcing).

    A target begins with the first tokens of `special_tokens`; they are added if they are missing, and are not among the
    L. Sources with more than `window` tokens (None: the network's `max_length`) are encoded in windows. NonFiniteError
    where the model gives NaN.
    """
    pairs = [(source, special_tokens.with_first(target)) for source, target in pairs]
    for _, target in pairs:
        check_length(target, network.max_length, what="a target")
    requests = [Request(source, limit=max(len(source), len(target))) for source, target in pairs]
    found: list[Tensor] = [torch.empty(0)] * len(pairs)
    for indices in batches(requests, SearchConfig(special_tokens), vocab_size=1, batch_size=batch_size):
        examples = [Example(*pairs[i], i) for i in indices]
        batch = collate(examples, pad_id=0, start_id=special_tokens.start).to(network.device)
        with evaluating(network):
            memory = network.encode(batch.source, batch.source_tokens, window=window)
            hidden, _ = network.decode(batch.target_ids, batch.target_tokens, memory, None)
            log_p = label_log_p(network, hidden[batch.label_mask], batch.labels[batch.label_mask])
        if bool(log_p.isnan().any()):
            raise not_numbers(network)
        parts = log_p.to(sum_type(network.device)).split([len(example.target) for example in examples])
        for i, part in zip(indices, parts, strict=True):
            found[i] = part[len(special_tokens.first) :]
    return found
