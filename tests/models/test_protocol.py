"""What is searched needs the methods of `Seq2Seq`, and no common parent."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from search.toys import SPECIAL, toy

from antiphon.config import GenerationConfig
from antiphon.conformance.whole import UncachedNetwork
from antiphon.generation.ensemble import Ensemble
from antiphon.models.protocol import Seq2Seq
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.search.engine import answer, forced_scores

NAMES = [name for name in dir(Seq2Seq) if not name.startswith("_")]


class Wrapped:
    """A network of another library: an object with the protocol's names, and nothing else."""

    def __init__(self, network: EncoderDecoder) -> None:
        self._network = network

    def __getattr__(self, name: str) -> Any:
        if name not in (*NAMES, "training"):
            raise AttributeError(f"the search needs `{name}`, which Seq2Seq does not name")
        return getattr(self._network, name)


@pytest.mark.parametrize(
    "settings",
    [{"beam_size": 3, "n_best": 2}, {"beam_size": 2, "coverage_penalty": 0.3}, {"temperature": 0.9, "n_best": 2}],
    ids=str,
)
def test_an_object_with_these_names_is_searched(settings: dict[str, object]) -> None:
    network, config = toy("rotary"), GenerationConfig(max_new_tokens=8, **settings)
    sources, wrapped = [[5, 6, 2], [7, 2], [9, 8, 3, 2]], Wrapped(network)
    found = answer(network, sources, config, SPECIAL)
    assert answer(wrapped, sources, config, SPECIAL) == found
    pairs = [(source, row[0].ids) for source, row in zip(sources, found, strict=True)]
    assert forced_scores(wrapped, pairs, SPECIAL) == forced_scores(network, pairs, SPECIAL)


def test_ensembles_and_uncached_networks_are_no_encoder_decoders() -> None:
    one = toy("rotary")
    for network in (one, Ensemble([one, toy("alibi")]), UncachedNetwork(one)):
        assert all(getattr(network, name, None) is not None for name in NAMES)
        assert isinstance(network, EncoderDecoder) == (network is one)
        assert (network.vocab_size, network.max_length, network.device) == (13, 40, torch.device("cpu"))
