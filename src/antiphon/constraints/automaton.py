"""Phrases in a text, found by one automaton over characters for all of them (Aho and Corasick 1975).

    automaton = Automaton(required=["in 3"], forbidden=["cat"])
    state, found = automaton.read(OUTSIDE_WORD, "the cat.")       # is_forbidden(found)

A phrase is found as whole words only: a match neither begins nor ends between two characters that both belong to words
(`joins`). If the last character of a phrase belongs to a word, the next character of the text decides whether the match
counts. A state stands for the longest beginning of a phrase with which the text ends. Two states stand for no
beginning: one after a character of a word, one after any other.

Shapes: S states, A symbols (the characters of the phrases, and two for all other characters).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from antiphon.words import joins

OUTSIDE_WORD, INSIDE_WORD = 0, 1  # the two root states, and the symbols of characters that are in no phrase
MAX_REQUIRED_PHRASES = 62  # bits 0 to 61 of what was found are required phrases
FORBIDDEN_BIT = 1 << 62  # set if a forbidden phrase was found


class Automaton:
    """The automaton of `required` and `forbidden` phrases; the required ones are all different.

    What was found is a number: bit i for the i-th required phrase, FORBIDDEN_BIT for any forbidden one. For each state:
    `transitions` (S, A) are the next states, `found_now` is what is found when it is entered, `found_at_border` what is
    found if the next character does not belong to a word, or the text ends. `fallback` is the state of the next shorter
    beginning, `depth` the length of the beginning in characters, `phrases_through` the required phrases that start with
    it, `joined` whether its last character belongs to a word.
    """

    def __init__(self, required: Sequence[str], forbidden: Sequence[str]) -> None:
        self.required = list(required)
        self.all_required = (1 << len(required)) - 1
        chars = sorted({char for phrase in (*required, *forbidden) for char in phrase})
        self.symbols = {char: 2 + i for i, char in enumerate(chars)}
        self.joined_symbols = [False, True, *map(joins, chars)]
        self.found_now, self.found_at_border, self.fallback, self.depth = (
            [0, 0],
            [0, 0],
            [OUTSIDE_WORD, OUTSIDE_WORD],
            [0, 0],
        )
        self.phrases_through: list[list[int]] = [[], []]
        self.joined = [False, True]
        children: list[dict[int, int]] = [{}, {}]
        for i, phrase in enumerate(required):
            for state in self._insert(children, phrase, 1 << i):
                self.phrases_through[state].append(i)
        for phrase in forbidden:
            self._insert(children, phrase, FORBIDDEN_BIT)
        self._link(children)

    def symbol(self, char: str) -> int:
        """The symbol of a character."""
        found = self.symbols.get(char)
        return (INSIDE_WORD if joins(char) else OUTSIDE_WORD) if found is None else found

    def read(self, state: int, text: str) -> tuple[int, int]:
        """The state after `text`, and what was found in it."""
        found = 0
        for char in text:
            symbol = self.symbols.get(char)
            if symbol is None:
                symbol = INSIDE_WORD if joins(char) else OUTSIDE_WORD
            if not self.joined_symbols[symbol]:
                found |= self.found_at_border[state]
            state = self.transitions[state][symbol]
            found |= self.found_now[state]
        return state, found

    def tables(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`transitions` (S, A), `found_now` (S,) and `found_at_border` (S,) as tensors."""
        return torch.tensor(self.transitions), torch.tensor(self.found_now), torch.tensor(self.found_at_border)

    def _insert(self, children: list[dict[int, int]], phrase: str, bit: int) -> list[int]:
        """Add `phrase` to the prefix tree; returns the states on its path."""
        state, passed = OUTSIDE_WORD, []
        for char in phrase:
            symbol = self.symbols[char]
            if symbol not in children[state]:
                children[state][symbol] = len(children)
                children.append({})
                self.found_now.append(0)
                self.found_at_border.append(0)
                self.fallback.append(OUTSIDE_WORD)
                self.depth.append(self.depth[state] + 1)
                self.phrases_through.append([])
                self.joined.append(self.joined_symbols[symbol])
            state = children[state][symbol]
            passed.append(state)
        (self.found_at_border if joins(phrase[-1]) else self.found_now)[state] |= bit
        return passed

    def _link(self, children: list[dict[int, int]]) -> None:
        """Fill `transitions` and `fallback`, shorter beginnings first, and add what is found at shorter beginnings."""
        plain = [int(joined) for joined in self.joined_symbols]  # the root state after each symbol
        self.transitions = [plain[:], plain[:]] + [[] for _ in children[2:]]
        for symbol, child in children[OUTSIDE_WORD].items():
            self.transitions[OUTSIDE_WORD][symbol] = child
            if not self.joined_symbols[symbol]:  # no phrase begins inside a word
                self.transitions[INSIDE_WORD][symbol] = child
            self.fallback[child] = plain[symbol]
        level = list(children[OUTSIDE_WORD].values())
        while level:
            for state in level:
                shorter = self.fallback[state]
                self.found_now[state] |= self.found_now[shorter]
                self.found_at_border[state] |= self.found_at_border[shorter]
                row = self.transitions[state] = self.transitions[shorter][:]
                for symbol, child in children[state].items():
                    self.fallback[child] = row[symbol]
                    row[symbol] = child
            level = [child for state in level for child in children[state].values()]


def is_forbidden(found: int) -> bool:
    """Whether a forbidden phrase is among what was found."""
    return found >= FORBIDDEN_BIT
