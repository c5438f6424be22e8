"""Notes about BLEU scores that do not measure the quality of the answers.

>>> unspaced(["今日は良い天気です。"])
'Japanese'
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

# Scripts without spaces between words, by the first word of a letter's Unicode name (Unicode Standard Annex 14,
# classes ID and SA; Tibetan separates syllables by a mark).
_SCRIPTS = {
    "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "KATAKANA-HIRAGANA": "Japanese", "HALFWIDTH": "Japanese",
    "CJK": "Chinese", "THAI": "Thai", "LAO": "Lao", "KHMER": "Khmer", "MYANMAR": "Burmese", "TIBETAN": "Tibetan",
}  # fmt: skip
_REMEDIES = {
    "Japanese": "`tokenize: ja-mecab` (pip install 'sacrebleu[ja]') or `char`",
    "Chinese": "`tokenize: zh`",
}
# Letters and vowel signs for each space: words have 2 to 6; Thai or Burmese has 15 and more between two spaces.
_LETTERS_A_SPACE = 8
_KANA_SHARE = 0.05  # kana are about half of a Japanese text, and almost absent from a Chinese one


def unspaced(texts: Iterable[str]) -> str | None:
    """The language or script of `texts` if most letters are of a script without word spaces and there are few spaces.

    None for other scripts, and for texts that are tokenized already.
    """
    scripts: Counter[str] = Counter()
    letters = spaces = 0
    for character, count in Counter("".join(text.strip() for text in texts)).items():
        if character.isspace():
            spaces += count
        elif unicodedata.category(character)[0] in "LM":
            letters += count
            name = unicodedata.name(character, "").split(" ")[0]
            if name in _SCRIPTS:
                scripts[_SCRIPTS[name]] += count
    if 2 * scripts.total() <= letters or spaces * _LETTERS_A_SPACE > letters:
        return None
    return "Japanese" if scripts["Japanese"] > _KANA_SHARE * letters else scripts.most_common(1)[0][0]


def bleu_note(
    statistics: Sequence[Sequence[float]],
    references: Sequence[Sequence[str]],
    *,
    order: int | None,
    default_tokenizer: bool,
) -> str:
    """A note of one line if the score is not meaningful, else "".

    `statistics` are sacreBLEU's, one row an answer: two lengths, then for each order the number of matching n-grams and
    of all n-grams. `order` is the maximum n-gram order, None for the effective order. `default_tokenizer`: whether the
    tokenizer was not set.
    """
    script = unspaced(text for row in references for text in row) if default_tokenizer else None
    if script is not None:
        remedy = _REMEDIES.get(script, "`tokenize: char`")
        return (
            f"the references are {script}, which has no spaces between words, so that BLEU's default tokenizer "
            f"takes whole sentences for words. Give bleu {remedy}, or use chrf."
        )
    if order is not None and not sum(row[1 + 2 * order] for row in statistics):
        return (
            f"no answer has {order} tokens, so that BLEU, which counts sequences of 1 to {order} tokens, is 0 however "
            "good they are. For texts this short use chrf or exact_match, or bleu with `effective_order: true`."
        )
    return ""
