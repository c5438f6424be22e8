"""Text: tokenizers (trained here or loaded), tasks, and the built-in corpus of phrases.

`phrases` is not imported here: it needs Babel, which loading a model does not.
"""

from __future__ import annotations

from antiphon.text.denoising_tokens import DENOISING_TOKENS, DenoisingTokens
from antiphon.text.loading import load_pretrained_tokenizers, pretrained_config, pretrained_files
from antiphon.text.sampling import SegmentationSampler, dropout_of, make_sampler
from antiphon.text.stream import StreamDecoder
from antiphon.text.task import CLASSIFICATION, Task, load_task
from antiphon.text.tokenizer import Tokenizer
from antiphon.text.training import train_tokenizer
from antiphon.utf8 import clean_text

__all__ = [
    "DENOISING_TOKENS",
    "DenoisingTokens",
    "CLASSIFICATION",
    "SegmentationSampler",
    "StreamDecoder",
    "Task",
    "Tokenizer",
    "clean_text",
    "dropout_of",
    "load_pretrained_tokenizers",
    "load_task",
    "make_sampler",
    "pretrained_config",
    "pretrained_files",
    "train_tokenizer",
]
