"""Where the sentences of a text end, by the library sentencex: abbreviations, quotes and about 300 languages.

>>> list(sentences("Dr. Smith came. He left.", "en"))
['Dr. Smith came. ', 'He left.']
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

# Behind a line, and behind marks that end a sentence (Sentence_Terminal of Unicode's UAX 29, and the like) that
# sentencex 1.0 does not cut at: of Arabic, Sinhala, Tibetan and Khmer, an ellipsis, the question mark of Greek, and a
# mark within brackets where another sentence follows.
_OTHER_ENDS = re.compile(
    r"[؛ॽ෴།༎༏༐༑༒។៕]+\s*|…[\"'”’»)\]]*\s+|\n\s*"
    r"|(?<=[\u0370-\u03ff\u1f00-\u1fff])[;\u037e][\"'”’»)\]]*\s+"
    r"|[.!?][\"'”’»)\]]*[)\]][\"'”’»)\]]*\s+(?=[\"'“‘«(\[¿¡]*[^\W\d_a-z])"
)
_STRETCH = 8192  # characters that are looked at together, since sentencex takes the square of many open quotes
_DEFAULT = "en"  # its rules of abbreviations and numbers are used where the language is not known


def sentences(text: str, language: str | None = None) -> Iterator[str]:
    """The sentences of `text`, each with the white space behind it; joined they are `text`.

    `language` is a code such as de, deu, de_DE or deu_Latn; one that sentencex does not know is read as English.
    """
    import sentencex

    code, start = _short_code(language), 0
    while start < len(text):
        stretch = text[start : start + _STRETCH]
        found = list(sentencex.segment(code, stretch))  # pyright: ignore[reportAttributeAccessIssue]
        if start + _STRETCH < len(text):  # the last one may go on behind the stretch
            found = found[:-1] or [_up_to_a_word_end(stretch)]
        for sentence in found:
            yield from cut(sentence, _OTHER_ENDS)
            start += len(sentence)


def cut(text: str, ends: re.Pattern[str]) -> list[str]:
    """`text` cut behind each match of `ends`."""
    places = [0, *(match.end() for match in ends.finditer(text)), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(places) if end > start]


def _up_to_a_word_end(text: str) -> str:
    """`text` up to its last white space; the whole where there is none."""
    end = next((place for place in range(len(text), 0, -1) if text[place - 1].isspace()), len(text))
    return text[:end]


def _short_code(language: str | None) -> str:
    """The code of a language as sentencex has it: two letters where there are (`de`), else three."""
    if language is None:
        return _DEFAULT
    from babel.core import get_global

    code = re.split(r"[-_]", language)[0].lower()
    return str(get_global("language_aliases").get(code, code))
