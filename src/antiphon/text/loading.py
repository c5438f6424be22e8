"""The tokenizers of a Hugging Face folder.

    source, target = load_pretrained_tokenizers(Path("opus-mt-en-de"), config)     # config: its parsed config.json

Both read and write ids as transformers does, with three differences: what steers the model (`</s>`, a language) is
plain text where a text writes it out; a sentencepiece model's own normalization always holds; and decoded text is
never "cleaned up" (transformers may take spaces before punctuation away, which would change what a model wrote).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.text.pretrained.families import read_pretrained
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary
from antiphon.text.tokenizer import Tokenizer


def load_pretrained_tokenizers(folder: Path, config: Mapping[str, Any]) -> tuple[Tokenizer, Tokenizer]:
    """The source's and the target's tokenizer; the same object where the sides do not differ.

    They differ in the languages of their texts (mBART, NLLB, M2M-100), in their sentencepiece models (Marian), or
    where only a target must have an end. ModelError, which names the file, for what cannot be read.
    """
    made = [
        Tokenizer(PretrainedVocabulary(record, files, where=str(folder)))
        for record, files in read_pretrained(folder, config)
    ]
    return made[0], made[-1].as_target()
