"""Normalisers: what is removed from answers and references before their errors are counted.

| name          | what it does                                                                                         |
|---------------|------------------------------------------------------------------------------------------------------|
| `lower`       | lower case                                                                                           |
| `punctuation` | removes punctuation (Unicode's categories P); runs of white space become one space                   |
| `spaces`      | runs of white space become one space, none at the ends                                               |
| `no_spaces`   | removes white space, for scripts without word spaces                                                 |
| `accents`     | removes combining marks: é is e                                                                      |
| `nfc`, `nfkc` | Unicode's normal form: composed, or composed with compatible characters made equal                   |
| `whisper`     | Whisper's normaliser for languages other than English (Radford et al. 2022, appendix C)              |

They are applied in the order given. A custom one is a function of a text that returns a text, registered with
`@antiphon.register("normalizer", "name")`, or `module:Name`. Example:

>>> normalizer(["lower", "punctuation"])("Well, «yes» !")
'well yes'
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial

from antiphon.errors import ConfigError
from antiphon.registry import lookup, register
from antiphon.settings import show

Normalizer = Callable[[str], str]
SEPARATOR = "+"  # between names on the command line, where a comma separates metrics

_BRACKETS = re.compile(r"[<\[][^>\]]*[>\]]|\(([^)]+?)\)")


def normalizer_names(spec: object) -> tuple[str, ...]:
    """The names in a setting `normalize`: a list of names, a single one, or several joined by "+".

    ConfigError for anything else.
    """
    if isinstance(spec, str):
        return tuple(name for name in spec.split(SEPARATOR) if name)
    if isinstance(spec, Sequence) and all(isinstance(name, str) and name for name in spec):
        return tuple(spec)
    raise ConfigError(
        f"`normalize` must be a list of names, but is {show(spec)}. For example [lower, punctuation]; on the command "
        "line normalize=lower+punctuation."
    )


def normalizer(names: Sequence[str]) -> Normalizer:
    """One function for the normalisers `names`, in this order; ConfigError for an unknown name."""
    steps: list[Normalizer] = [lookup("normalizer", name) for name in names]

    def normalize(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return normalize


@register("normalizer", "lower")
def lower(text: str) -> str:
    return text.lower()


@register("normalizer", "spaces")
def spaces(text: str) -> str:
    return " ".join(text.split())


@register("normalizer", "no_spaces")
def no_spaces(text: str) -> str:
    return "".join(text.split())


@register("normalizer", "punctuation")
def punctuation(text: str) -> str:
    return spaces("".join(char for char in text if not unicodedata.category(char).startswith("P")))


@register("normalizer", "accents")
def accents(text: str) -> str:
    bare = "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")
    return unicodedata.normalize("NFC", bare)


@register("normalizer", "whisper")
def whisper(text: str) -> str:
    """`BasicTextNormalizer` of openai/whisper: lower case, no words in brackets, marks and symbols become spaces."""
    plain = unicodedata.normalize("NFKC", _BRACKETS.sub("", text.lower()))
    return spaces("".join(" " if unicodedata.category(char)[0] in "MSP" else char for char in plain).lower())


register("normalizer", "nfc")(partial(unicodedata.normalize, "NFC"))
register("normalizer", "nfkc")(partial(unicodedata.normalize, "NFKC"))
