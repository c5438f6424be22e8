"""The encoder-decoder Transformer: its parts, how settings become one, and model folders."""

from __future__ import annotations

from antiphon.inputs.embeddings import FeatureEmbedding
from antiphon.models.build import build_network
from antiphon.models.folders.checkpoint import Parts, load_parts, save_model_folder
from antiphon.models.front import InputEmbedding
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder, DecoderLayer, Encoder, EncoderLayer, Shape, count_parameters

__all__ = [
    "Decoder",
    "DecoderLayer",
    "Encoder",
    "EncoderDecoder",
    "EncoderLayer",
    "FeatureEmbedding",
    "InputEmbedding",
    "Parts",
    "Shape",
    "build_network",
    "count_parameters",
    "load_parts",
    "save_model_folder",
]
