"""Where phrases stand in a text: one automaton over characters for all of them (Aho and Corasick 1975).

    automaton = Automaton(required=["in 3"], forbidden=["cat"])

A phrase is found as whole words: no match begins or ends inside a word, that is between two characters that `joins`.
So an end that holds words together is told by what follows: by `now` or by `later`. A state is the longest beginning of
a phrase with which the text ends, or one of two roots, which differ in whether the text's last character joins.
Shapes: S states, A symbols (characters of the phrases, and two for all others).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from antiphon.constraints.spelling import joins

FREE, JOINED = 0, 1  # the two roots, and the two symbols of characters that stand in no phrase
_BAD = 1 << 62  # marks what is forbidden among the bits of what is required
MOST_REQUIRED = 62


class Automaton:
    """`rows[state][symbol]` is the next state; `now[state]` what is found when it is entered, `later[state]` what was
    found if a word does not go on: bit i for the i-th required phrase, one more bit for anything forbidden.

    `required` have distinct phrases. `back[state]` is the next shorter beginning; `passing[state]` the required phrases
    that begin with what the state has read, `depth[state]` characters.
    """

    def __init__(self, required: Sequence[str], forbidden: Sequence[str]) -> None:
        self.required = list(required)
        self.everything = (1 << len(required)) - 1
        chars = sorted({char for phrase in (*required, *forbidden) for char in phrase})
        self.symbols = {char: 2 + i for i, char in enumerate(chars)}
        self.joined_symbols = [False, True, *map(joins, chars)]
        self.now, self.later, self.back, self.depth = [0, 0], [0, 0], [FREE, FREE], [0, 0]
        self.passing: list[list[int]] = [[], []]
        self.joined = [False, True]  # whether the last character of each state joins
        children: list[dict[int, int]] = [{}, {}]
        for i, phrase in enumerate(required):
            for state in self._insert(children, phrase, 1 << i):
                self.passing[state].append(i)
        for phrase in forbidden:
            self._insert(children, phrase, _BAD)
        self._link(children)

    def symbol(self, char: str) -> int:
        """The symbol of any character."""
        found = self.symbols.get(char)
        return (JOINED if joins(char) else FREE) if found is None else found

    def read(self, state: int, text: str) -> tuple[int, int]:
        """The state behind `text`, and what was found on the way."""
        found = 0
        for char in text:
            symbol = self.symbols.get(char)
            if symbol is None:
                symbol = JOINED if joins(char) else FREE
            if not self.joined_symbols[symbol]:
                found |= self.later[state]
            state = self.rows[state][symbol]
            found |= self.now[state]
        return state, found

    def tables(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`rows` (S, A), `now` (S,) and `later` (S,) as tensors."""
        return torch.tensor(self.rows), torch.tensor(self.now), torch.tensor(self.later)

    def _insert(self, children: list[dict[int, int]], phrase: str, bit: int) -> list[int]:
        """Put `phrase` into the tree; the states it passes."""
        state, passed = FREE, []
        for char in phrase:
            symbol = self.symbols[char]
            if symbol not in children[state]:
                children[state][symbol] = len(children)
                children.append({})
                self.now.append(0)
                self.later.append(0)
                self.back.append(FREE)
                self.depth.append(self.depth[state] + 1)
                self.passing.append([])
                self.joined.append(self.joined_symbols[symbol])
            state = children[state][symbol]
            passed.append(state)
        (self.later if joins(phrase[-1]) else self.now)[state] |= bit
        return passed

    def _link(self, children: list[dict[int, int]]) -> None:
        """Fill `rows` and `back`, shorter beginnings first, and add what the ends of a beginning find."""
        plain = [int(joined) for joined in self.joined_symbols]  # the root behind each symbol
        self.rows = [plain[:], plain[:]] + [[] for _ in children[2:]]
        for symbol, child in children[FREE].items():
            self.rows[FREE][symbol] = child
            if not self.joined_symbols[symbol]:  # within a word none begins
                self.rows[JOINED][symbol] = child
            self.back[child] = plain[symbol]
        level = list(children[FREE].values())
        while level:
            for state in level:
                shorter = self.back[state]
                self.now[state] |= self.now[shorter]
                self.later[state] |= self.later[shorter]
                row = self.rows[state] = self.rows[shorter][:]
                for symbol, child in children[state].items():
                    self.back[child] = row[symbol]
                    row[symbol] = child
            level = [child for state in level for child in children[state].values()]


def is_bad(found: int) -> bool:
    """Whether something forbidden is among what was found."""
    return found >= _BAD
