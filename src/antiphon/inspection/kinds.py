"""The kinds of findings, in the order of their urgency, each with the setting that removes what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Urgency = Literal["first", "next", "later", "know"]
URGENCIES: dict[Urgency, str] = {
    "first": "Do this first: it makes results wrong",
    "next": "Then this: the model learns faults",
    "later": "Later: small losses",
    "know": "Good to know",
}


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    `title` and `why` are for people. `filter` is the entry of `data.filters` that drops what is found, `setting`
    another setting of the recipe that removes it, and `advice` what can be done where no setting does it. `noise` is a
    share of the pairs below which most of what is found may be false alarms (docs/inspecting.md has the figures).
    """

    name: str
    urgency: Urgency
    title: str
    why: str
    filter: str | Mapping[str, Any] | None = None
    setting: tuple[str, Any] | None = None
    advice: str = ""
    noise: float = 0.0


_ALL = (
    Kind(
        "refused",
        "first",
        "Training refuses this recipe",
        "Nothing can be learned before it is corrected.",
    ),
    Kind(
        "unreadable",
        "first",
        "Rows that cannot be read",
        "Training ends at the first of them.",
        setting=("data.bad_rows", "skip"),
        advice="Correct the rows, or skip them.",
    ),
    Kind(
        "overlap_exact",
        "first",
        "Training sources that are in the validation or test data",
        "Scores on data that the model has seen say nothing about new texts.",
        filter="overlap",
    ),
    Kind(
        "overlap_near",
        "first",
        "Training sources nearly like one of the validation or test data",
        "They differ in a word or two; scores are higher than on new texts.",
        filter="overlap",
    ),
    Kind(
        "swapped",
        "next",
        "Pairs with source and target exchanged",
        "The model learns to answer in the language of the question.",
        filter="language",
    ),
    Kind(
        "wrong_language",
        "next",
        "Pairs with a side in another language",
        "The model learns to answer in that language now and then.",
        filter="language",
        noise=0.005,
    ),
    Kind(
        "untranslated",
        "next",
        "Targets that repeat their source",
        "The model learns to copy; a few per cent of copies ruin a translation model (Khayrallah and Koehn 2018).",
        filter="copies",
    ),
    Kind(
        "garbled",
        "next",
        "Text in a mixed encoding",
        "UTF-8 was read as Latin-1 or Windows-1252: Ã¼ for ü.",
        filter="encoding",
        advice="Better than dropping them: convert the file again from its origin.",
    ),
    Kind(
        "lost",
        "next",
        "Replacement characters",
        "U+FFFD stands where a character was lost.",
        filter="encoding",
    ),
    Kind(
        "numbers",
        "next",
        "Numbers that differ between source and target",
        "The model learns to invent numbers.",
        filter="numbers",
        noise=0.002,
    ),
    Kind(
        "urls",
        "next",
        "URLs or addresses that differ between source and target",
        "The model learns to change or to drop them.",
        filter="urls",
    ),
    Kind(
        "odd_characters",
        "next",
        "Control, invisible and private-use characters",
        "They split words, cost entries of the vocabulary and come out in answers.",
        filter="characters",
    ),
    Kind(
        "conflicts",
        "next",
        "Equal sources with different labels",
        "At most one of the labels is right.",
        advice="Look at the rows; no filter knows which label is right.",
    ),
    Kind(
        "ratio",
        "next",
        "Pairs of very unequal length",
        "One side is cut off, or the sides do not belong together.",
        filter={"ratio": {"most": 3.0, "unit": "characters"}},
    ),
    Kind(
        "too_long",
        "next",
        "Texts longer than `data.max_length`",
        "Training ends at the first of them, unless `data.overflow` is set.",
        setting=("data.overflow", "skip"),
        advice="`truncate` keeps their beginning; a larger `data.max_length` keeps them whole.",
    ),
    Kind(
        "unknown",
        "next",
        "Texts with unknown tokens",
        "The tokenizer has no piece for a character, and the model sees none of it.",
        advice="Take a tokenizer with bytes (`bpe`, `unigram`), or one that was made for these texts.",
    ),
    Kind(
        "duplicates",
        "later",
        "Pairs that occur before",
        "They count more than once in the loss.",
        filter="duplicates",
    ),
    Kind(
        "normal_form",
        "later",
        "Text in an unusual Unicode form",
        "Equal words are other bytes: é as one character and as two, ligatures, presentation forms.",
        filter={"normal_form": "NFC"},
        advice="Better than dropping them: `tokenizer.normalize: nfc`.",
    ),
    Kind(
        "empty",
        "later",
        "Pairs with an empty side",
        "Training leaves them out by itself.",
        advice="Nothing has to be done; look for lines that moved.",
    ),
)
KINDS = {kind.name: kind for kind in _ALL}
ORDER = list(KINDS)
