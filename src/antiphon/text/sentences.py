"""Sentence splitting with the library sentencex, which knows abbreviations, quotes and about 300 languages.

>>> list(sentences("Dr. Smith came. He left.", "en"))
['Dr. Smith came. ', 'He left.']
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from antiphon.language_codes import short_code

# Sentence ends that sentencex 1.0 does not know: line feeds, terminators of Arabic, Sinhala, Tibetan and Khmer
# (Sentence_Terminal of Unicode's UAX 29, and similar ones), the ellipsis, the question mark of Greek, and a terminator
# within brackets if another sentence follows.
_OTHER_ENDS = re.compile(
    r"[؛ॽ෴།༎༏༐༑༒។៕]+\s*|…[\"'”’»)\]]*\s+|\n\s*"
    r"|(?<=[\u0370-\u03ff\u1f00-\u1fff])[;\u037e][\"'”’»)\]]*\s+"
    r"|[.!?][\"'”’»)\]]*[)\]][\"'”’»)\]]*\s+(?=[\"'“‘«(\[¿¡]*[^\W\d_a-z])"
)
_CHUNK_CHARACTERS = 8192  # split at a time, since sentencex is quadratic in the number of open quotes
_DEFAULT = "en"  # the rules for abbreviations and numbers if the language is unknown


def sentences(text: str, language: str | None = None) -> Iterator[str]:
    """The sentences of `text`, each with the white space after it; concatenated they are `text`.

    `language` is a code such as de, deu, de_DE or deu_Latn; the rules of English are used for unknown ones.
    """
    import sentencex

    code, start = _DEFAULT if language is None else short_code(language), 0
    while start < len(text):
        stretch = text[start : start + _CHUNK_CHARACTERS]
        found = list(sentencex.segment(code, stretch))  # pyright: ignore[reportAttributeAccessIssue]
        if start + _CHUNK_CHARACTERS < len(text):  # the last sentence may continue in the next chunk
            found = found[:-1] or [_up_to_a_word_end(stretch)]
        for sentence in found:
            yield from cut(sentence, _OTHER_ENDS)
            start += len(sentence)


def cut(text: str, ends: re.Pattern[str]) -> list[str]:
    """`text` split after each match of `ends`."""
    places = [0, *(match.end() for match in ends.finditer(text)), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(places) if end > start]


def _up_to_a_word_end(text: str) -> str:
    """`text` up to its last white space; all of it if there is none."""
    end = next((place for place in range(len(text), 0, -1) if text[place - 1].isspace()), len(text))
    return text[:end]
