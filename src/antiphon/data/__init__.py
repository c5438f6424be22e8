"""Data loading: sources.py reads records, corpus.py encodes them to ids, batching.py groups them into batches.

The names below are imported when they are first used (PEP 562): answering needs few of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {  # public name -> the module that defines it
    "Batches": "antiphon.data.batching",
    "length_batches": "antiphon.data.batching",
    "padding_waste": "antiphon.data.batching",
    "Corpus": "antiphon.data.corpus",
    "InMemory": "antiphon.data.corpus",
    "Streamed": "antiphon.data.corpus",
    "load_corpus": "antiphon.data.corpus",
    "load_objectives": "antiphon.data.denoising",
    "find_fonts": "antiphon.data.drawn_lines",
    "lines_of_text": "antiphon.data.drawn_lines",
    "DataReport": "antiphon.data.epochs.data_report",
    "Filters": "antiphon.data.filters",
    "Pair": "antiphon.data.filters",
    "filters_of": "antiphon.data.filters",
    "load_filters": "antiphon.data.filters",
    "LoadedBatches": "antiphon.data.media.loaders",
    "Mixture": "antiphon.data.mixture",
    "DataProfile": "antiphon.data.profile",
    "DataPlace": "antiphon.data.sources",
    "cases": "antiphon.data.sources",
    "records": "antiphon.data.sources",
}

if TYPE_CHECKING:
    from antiphon.data.batching import Batches, length_batches, padding_waste
    from antiphon.data.corpus import Corpus, InMemory, Streamed, load_corpus
    from antiphon.data.denoising import load_objectives
    from antiphon.data.drawn_lines import find_fonts, lines_of_text
    from antiphon.data.epochs.data_report import DataReport
    from antiphon.data.filters import Filters, Pair, filters_of, load_filters
    from antiphon.data.media.loaders import LoadedBatches
    from antiphon.data.mixture import Mixture
    from antiphon.data.profile import DataProfile
    from antiphon.data.sources import DataPlace, cases, records

__all__ = [
    "Batches",
    "Corpus",
    "Filters",
    "InMemory",
    "Mixture",
    "Pair",
    "DataPlace",
    "DataProfile",
    "DataReport",
    "LoadedBatches",
    "Streamed",
    "cases",
    "filters_of",
    "find_fonts",
    "length_batches",
    "lines_of_text",
    "load_corpus",
    "load_filters",
    "load_objectives",
    "padding_waste",
    "records",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'antiphon.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # the next look-up does not come here
    return value
