"""Where every token of a vocabulary leads from a state of the automaton of phrases, for all tokens at once.

    places, found, is_forbidden = TokenTransitions(spelling, automaton).outcomes(OUTSIDE_WORD)

Shapes: n tokens that write whole characters, L the largest number of their characters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.constraints.automaton import FORBIDDEN_BIT, Automaton
from antiphon.constraints.spelling import TokenTexts


class TokenTransitions:
    """The tokens that write whole characters: where each leads from a state of the automaton, and what it finds."""

    def __init__(self, spelling: TokenTexts, automaton: Automaton) -> None:
        self.automaton = automaton
        self.transitions, self.found_now, self.found_at_border = automaton.tables()
        self.joined = torch.tensor(automaton.joined_symbols)
        symbols = torch.tensor([*map(automaton.symbol, spelling.alphabet), 0])
        self.symbols = symbols[spelling.chars]  # (n, L)
        self.counts = spelling.counts
        self._found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def outcomes(self, place: int) -> tuple[Tensor, Tensor, Tensor]:
        """From state `place`: the states after each token (n,), what is found (n,), whether it is forbidden (n,)."""
        if place not in self._found:
            self._found[place] = self._outcomes(place)
        return self._found[place]

    def different(self, place: int) -> set[tuple[int, int]]:
        """The different pairs of a next state and what is found, of all tokens that find nothing forbidden."""
        places, found, bad = self.outcomes(place)
        return set(zip(places[~bad].tolist(), found[~bad].tolist(), strict=True))

    def _outcomes(self, place: int) -> tuple[Tensor, Tensor, Tensor]:
        root = int(self.automaton.joined[place])
        if place == root:
            places, found = self._run(torch.full((len(self.symbols),), place), self.symbols, self.counts)
            return places, found, found >= FORBIDDEN_BIT
        # For most tokens the first character leads where it leads from the root state. These differ from the root's
        # outcomes only by a phrase that ends before the token.
        places, found, _ = self.outcomes(root)
        first = self.symbols[:, 0]
        found = found | torch.where(self.joined[first], 0, self.found_at_border[place])
        others = (self.transitions[place] != self.transitions[root])[first].nonzero()[:, 0]
        if len(others):
            symbols, counts = self.symbols[others], []
            for j in range(symbols.shape[1]):
                counts.append(
                    int(torch.searchsorted(others, self.counts[j]))
                )  # tokens are sorted by length, longest first
            own = self._run(torch.full((len(others),), place), symbols, counts)
            places, found = places.clone(), found.clone()
            places[others], found[others] = own
        return places, found, found >= FORBIDDEN_BIT

    def _run(self, places: Tensor, symbols: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """All tokens at once, a character at a time: `places` (n,) states, `symbols` (n, L) of their characters.

        `counts[j]` of them have a j-th character; these come first.
        """
        found = torch.zeros_like(places)
        for j, count in enumerate(counts):
            if not count:
                break
            at, read = places[:count], symbols[:count, j]
            found[:count] |= torch.where(self.joined[read], 0, self.found_at_border[at])
            places[:count] = self.transitions[at, read]
            found[:count] |= self.found_now[places[:count]]
        return places, found
