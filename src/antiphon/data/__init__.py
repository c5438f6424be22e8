"""Data loading: sources.py reads records, corpus.py encodes them to ids, batching.py groups them into batches."""

from __future__ import annotations

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
