"""The times of words, from the weights of cross-attention.

    steps = token_steps(weights, median_width=7)        # for each token the step at which the next one is spoken
    words_of(tokenizer, ids, times, spaced=True)        # [Word(" hello", 0.0, 0.4), ...]

Weights are normalized over the tokens, smoothed over time, averaged over the heads, and aligned by dynamic time warping
(Radford et al. 2022, section 4.5 and appendix; the rules are those of transformers' `_extract_token_timestamps` and
tokenizer). Shapes: A heads, T tokens, S positions of the encoder.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.generation.timed.segments import Word
from antiphon.text import Tokenizer

UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})  # languages whose words have no spaces between them
_BEFORE, _BEHIND = "\"'“¡¿([{-", "\"'.。,，!！?？:：”)]}、"  # punctuation of the next word, and of the one before
_UNKNOWN = "\ufffd"
_DIAGONAL, _UP, _LEFT = 0, 1, 2


def token_steps(weights: Tensor, *, median_width: int) -> list[int]:
    """The position at which the alignment reaches each token, from its weights (A,T,S)."""
    if weights.shape[1] == 0 or weights.shape[2] == 0:
        return [0] * weights.shape[1]
    std, mean = weights.std(1, keepdim=True, unbiased=False), weights.mean(1, keepdim=True)
    smooth = _median((weights - mean) / std.clamp_min(torch.finfo(weights.dtype).tiny), median_width).mean(0)
    found, seen = [0] * weights.shape[1], -1
    for token, step in warped(-smooth.double()):
        if token > seen:
            found[token], seen = step, token
    return found


def _median(values: Tensor, width: int) -> Tensor:
    """The median over `width` places of the last dimension, mirrored at the ends."""
    side = width // 2
    if values.shape[-1] <= side:
        return values
    padded = torch.nn.functional.pad(values, (side, side), mode="reflect")
    return padded.unfold(-1, width, 1).sort()[0][..., side]


def warped(costs: Tensor) -> list[tuple[int, int]]:
    """The cheapest path through `costs` (T,S) from the first cell to the last one, as (row, column) pairs, by steps to
    the next row, column or both (Sakoe and Chiba 1978). Sums are float32, as in transformers.

    The cells of an antidiagonal are computed together; index i of a diagonal is its cell in row i - 1.
    """
    rows, columns = costs.shape
    skewed = costs.new_full((rows + 1, rows + columns + 1), torch.inf)
    places = torch.arange(rows)[:, None] + torch.arange(columns) + 2
    skewed[1:].scatter_(1, places, costs)
    skewed = skewed.T.contiguous()  # (diagonals, rows + 1)
    trace = torch.full(skewed.shape, _LEFT, dtype=torch.int8)
    older, old = skewed.new_full((2, rows + 1), torch.inf, dtype=torch.float32)
    older[0] = 0
    for diagonal in range(2, rows + columns + 1):
        both, up, left = older[:-1], old[:-1], old[1:]
        choice = torch.where((both < up) & (both < left), _DIAGONAL, torch.where((up < both) & (up < left), _UP, _LEFT))
        best = torch.where(choice == _DIAGONAL, both, torch.where(choice == _UP, up, left))
        new = torch.full_like(old, torch.inf)
        new[1:] = (skewed[diagonal, 1:] + best.double()).float()
        trace[diagonal, 1:] = choice
        older, old = old, new
    return _traced(trace.tolist(), rows, columns)


def _traced(trace: list[list[int]], rows: int, columns: int) -> list[tuple[int, int]]:
    """The path that `trace` has the last steps of, from its beginning."""
    path, i, j = [], rows, columns
    while i > 0 and j > 0:
        path.append((i - 1, j - 1))
        step = trace[i + j][i]
        i, j = i - (step != _LEFT), j - (step != _UP)
    path += [(row, 0) for row in range(i - 1, -1, -1)] + [(0, column) for column in range(j - 1, -1, -1)]
    return path[::-1]


def words_of(
    tokenizer: Tokenizer, ids: Sequence[int], times: Sequence[tuple[float, float]], *, spaced: bool
) -> tuple[Word, ...]:
    """The words of a segment's text tokens `ids` with the (start, end) of each; `spaced`: words have spaces between
    them. Punctuation belongs to the word beside it."""
    groups = _characters(tokenizer, ids)
    if spaced:
        groups = _joined_words(groups)
    groups = _with_punctuation(groups)
    return tuple(Word(text, times[places[0]][0], times[places[-1]][1]) for text, places in groups)


_Group = tuple[str, list[int]]  # a text, and the places of its tokens


def _text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of `ids` with its spaces; U+FFFD for parts of characters."""
    table = tokenizer.vocabulary.table
    return tokenizer.decode(ids) if table is None else table.bytes(ids).decode("utf-8", "replace")


def _characters(tokenizer: Tokenizer, ids: Sequence[int]) -> list[_Group]:
    """The smallest runs of tokens that are whole characters."""
    whole, done = _text(tokenizer, ids), 0
    found: list[_Group] = []
    places: list[int] = []
    for place in range(len(ids)):
        places.append(place)
        text = _text(tokenizer, [ids[each] for each in places])
        at = done + text.index(_UNKNOWN) if _UNKNOWN in text else len(whole)
        if at >= len(whole) or whole[at] == _UNKNOWN:
            found.append((text, places))
            done, places = done + len(text), []
    return found


def _joined_words(groups: list[_Group]) -> list[_Group]:
    """Words from runs of tokens: one begins with a space, or is punctuation."""
    words: list[_Group] = []
    for text, places in groups:
        if text.startswith(" ") or text.strip() in string.punctuation or not words:
            words.append((text, list(places)))
        else:
            words[-1] = (words[-1][0] + text, words[-1][1] + places)
    return words


def _with_punctuation(words: list[_Group]) -> list[_Group]:
    """Words with the punctuation before and behind them."""
    words = list(words)
    last = len(words) - 1
    for place in range(len(words) - 2, -1, -1):
        text, places = words[place]
        if text.startswith(" ") and text.strip() in _BEFORE:
            words[last] = (text + words[last][0], places + words[last][1])
            words[place] = ("", [])
        else:
            last = place
    last = 0
    for place in range(1, len(words)):
        text, places = words[place]
        if not words[last][0].endswith(" ") and text in _BEHIND:
            words[last] = (words[last][0] + text, words[last][1] + places)
            words[place] = ("", [])
        else:
            last = place
    return [(text, places) for text, places in words if text]
