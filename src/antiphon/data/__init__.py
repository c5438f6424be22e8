"""From files of pairs to batches of ids: sources.py reads records, corpus.py encodes them, batching.py groups them."""

from __future__ import annotations

from antiphon.data.batching import Batches, length_batches, padding_waste
from antiphon.data.corpus import Corpus, InMemory, Report, Streamed, load_corpus
from antiphon.data.sources import Place, records

__all__ = [
    "Batches",
    "Corpus",
    "InMemory",
    "Place",
    "Report",
    "Streamed",
    "length_batches",
    "load_corpus",
    "padding_waste",
    "records",
]
