"""Filters for faults that show in a pair alone: copies, broken encodings, odd characters, numbers and URLs that differ.

    data:
      filters: [copies, encoding, characters, {normal_form: NFC}, numbers, urls]

They need no language and no model, and keep a pair in doubt. `antiphon inspect` finds faults with the same functions.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from antiphon.data.lines import Pair
from antiphon.registry import register
from antiphon.settings import Count, Settings, Share

# Control characters but tab, line feed and carriage return; invisible ones but joiners, direction marks and tags (which
# scripts and emoji need); private use; noncharacters; lone surrogates.
_ODD = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ue000-\uf8ff\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff\U000f0000-\U000ffffd\U00100000-\U0010fffd]"
)
_LATIN = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"  # what Windows-1252 puts in place of the controls 0x80 to 0x9f
_REST = f"[\x80-\xbf{_LATIN}]"
_SEQUENCE = re.compile(f"[\xc2-\xdf]{_REST}|[\xe0-\xef]{_REST}{{2}}|[\xf0-\xf4]{_REST}{{3}}")
_LOWER_CASED = re.compile("ã[¡-©¬-¯±-·¹¼-¾ÿœ€ƒ„†‡‰™š]")  # what is left of "Ã¼" in a lower-cased corpus
_CODES = {
    ord(letter): bytes([code]) for code in range(0x80, 0xA0) for letter in bytes([code]).decode("cp1252", "ignore")
}
_CYRILLIC = re.compile("[РС][\u0402-\u040f\u0452-\u045f\u0490\u0491°±µ¶·»№‚„…†‡€‰‹‘’“”•–—™›¤¦§©«¬®Ёё]")
_COMPATIBLE = re.compile("[\ufb00-\ufb06\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc]")  # ligatures and presentation forms
_WORD = re.compile(r"[^\W\d_]+")
_URL = re.compile(r"(?:https?://|ftp://|www\.)\s?[^\s<>\"]+|[\w.+-]+@[\w-]+\.[\w.-]+", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"\d+(?:\s?[.,\u00a0\u202f'’ ]\s?\d{3}(?!\d))*")


@register("filter", "copies")
@dataclass(frozen=True)
class Copies(Settings):
    """Drops pairs whose target repeats the source: at least `share` of its words, of at least `letters` letters.

    Letters of Chinese, Japanese and Korean count twice, since they stand for more.
    """

    share: Share = 0.8
    letters: Count = 12

    def __call__(self, pair: Pair) -> bool:
        return pair.row.plain or not is_copy(pair.source, pair.target, share=self.share, letters=self.letters)


def is_copy(source: str, target: str, *, share: float = 0.8, letters: int = 12) -> bool:
    """Whether `target` has at least `letters` letters and `share` of its words in `source`. Names alone are shorter."""
    if 2 * len(target) < letters or not 0.5 < len(target) / max(1, len(source)) < 2:
        return False
    if source == target:
        return _letters(target) >= letters
    rough = set(target.casefold().split())
    if len(rough) > 3 and 2 * len(rough & set(source.casefold().split())) < len(rough):
        return False  # what follows takes ten times as long
    words = _WORD.findall(target.casefold())
    if _letters("".join(words)) < letters:
        return False
    known = _WORD.findall(source.casefold())
    if len(words) < 4:  # few words, or a script that does not separate them
        return words == known
    return sum((Counter(words) & Counter(known)).values()) >= share * max(len(words), len(known))


def _letters(text: str) -> int:
    """The number of letters; those from U+2E80 on (Chinese, Japanese, Korean) count twice."""
    return sum(1 + (letter >= "\u2e80") for letter in text if letter.isalpha())


@register("filter", "encoding")
@dataclass(frozen=True)
class Encoding(Settings):
    """Drops pairs with UTF-8 that was read as another encoding ("Ã¼" for "ü"), or with U+FFFD, a lost character."""

    def __call__(self, pair: Pair) -> bool:
        return not any(has_lost(text) or is_garbled(text) for text in (pair.source, pair.target))


def has_lost(text: str) -> bool:
    """Whether a text has the replacement character U+FFFD."""
    return "\ufffd" in text


def is_garbled(text: str) -> bool:
    """Whether a text, or a part of it, is UTF-8 that was read as Latin-1, Windows-1252 or another encoding."""
    if text.isascii():
        return False
    if any(_decodes(found[0]) for found in _SEQUENCE.finditer(text)) or _LOWER_CASED.search(text):
        return True
    return len(_CYRILLIC.findall(text)) >= 2 and _was_read_as(text, "cp1251")


def _decodes(sequence: str) -> bool:
    """Whether characters stand for the bytes of a letter or sign that texts have; by chance two may be any."""
    try:
        letter = b"".join(_CODES.get(ord(part)) or part.encode("latin-1") for part in sequence).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        return False
    return len(sequence) > 2 or letter < "\u0460" or "\u0590" <= letter < "\u0650"


def _was_read_as(text: str, page: str) -> bool:
    """Whether the whole text is UTF-8 that was read as `page`."""
    try:
        text.encode(page).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        return False
    return True


@register("filter", "characters")
@dataclass(frozen=True)
class Characters(Settings):
    """Drops pairs with control characters, invisible ones, private-use ones or noncharacters."""

    def __call__(self, pair: Pair) -> bool:
        return not (has_odd(pair.source) or has_odd(pair.target))


def has_odd(text: str) -> bool:
    """Whether a text has a character that no text needs."""
    return _ODD.search(text) is not None


@register("filter", "normal_form")
@dataclass(frozen=True)
class NormalForm(Settings):
    """Drops pairs that are not in a Unicode normal form (UAX 15), or that have ligatures and presentation forms."""

    form: Literal["NFC", "NFD", "NFKC", "NFKD"] = "NFC"

    def __call__(self, pair: Pair) -> bool:
        return not any(is_unusual(text, self.form) for text in (pair.source, pair.target))


def is_unusual(text: str, form: Literal["NFC", "NFD", "NFKC", "NFKD"] = "NFC") -> bool:
    """Whether a text is not in `form`, or has ligatures or presentation forms, which are other letters to a model."""
    return not text.isascii() and (not unicodedata.is_normalized(form, text) or _COMPATIBLE.search(text) is not None)


@register("filter", "numbers")
@dataclass(frozen=True)
class Numbers(Settings):
    """Drops pairs whose numbers contradict each other.

    They do if each side has a number that the other lacks, or if one lacks a number of `digits` digits or more: small
    ones are often words on the other side. Separators of thousands, zeros at either end, years with two digits and
    hours of the afternoon do not count.
    """

    digits: Count = 4

    def __call__(self, pair: Pair) -> bool:
        return not numbers_differ(pair.source, pair.target, digits=self.digits)


def numbers_differ(source: str, target: str, *, digits: int = 4) -> bool:
    """Whether the numbers of two texts contradict each other; see `Numbers`."""
    ours, theirs = _numbers(source), _numbers(target)
    if ours == theirs:
        return False
    ours, theirs = list((ours - theirs).elements()), list((theirs - ours).elements())
    for number in [*ours]:
        like = next((other for other in theirs if _alike(number, other)), None)
        if like is not None:
            ours.remove(number)
            theirs.remove(like)
    if ours and theirs:
        return "".join(ours) != "".join(theirs)  # the same digits may be cut into other numbers
    left, whole = ("".join(ours), target) if ours else ("".join(theirs), source)
    if max((len(number) for number in (ours or theirs)), default=0) < digits:
        return False
    return left not in re.sub(r"\D", "", whole)


def _numbers(text: str) -> Counter[str]:
    found = _NUMBER.findall(text) if _DIGIT.search(text) else ()
    plain = (re.sub(r"\D", "", number) for number in found)
    return Counter(_ascii(number).lstrip("0") or "0" for number in plain)


def _ascii(number: str) -> str:
    return number if number.isascii() else "".join(str(unicodedata.digit(digit, 0)) for digit in number)


def _alike(one: str, other: str) -> bool:
    """Whether two numbers are a year with two and with four digits, an hour before and after noon, or differ in zeros
    at the end alone: what one side writes as "2 million"."""
    if one.rstrip("0") == other.rstrip("0"):
        return True
    if {len(one), len(other)} == {2, 4} and (one.endswith(other) or other.endswith(one)):
        return True
    return max(len(one), len(other)) <= 2 and abs(int(one) - int(other)) == 12 and max(int(one), int(other)) <= 24


@register("filter", "urls")
@dataclass(frozen=True)
class Urls(Settings):
    """Drops pairs whose URLs and e-mail addresses differ."""

    def __call__(self, pair: Pair) -> bool:
        return not urls_differ(pair.source, pair.target)


def urls_differ(source: str, target: str) -> bool:
    """Whether two texts have different URLs or e-mail addresses, or one has some and the other has none."""
    if not any(sign in text for text in (source, target) for sign in ("://", "www.", "@", "WWW.")):
        return False
    return _urls(source) != _urls(target)


def _urls(text: str) -> Counter[str]:
    found = (re.sub(r"\s", "", url).rstrip(".,;:!?)]}'’”»、。").lower() for url in _URL.findall(text))
    return Counter(url.removeprefix("https://").removeprefix("http://").rstrip("/") for url in found)
