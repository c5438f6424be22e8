"""Answers whose text contains all required phrases and no forbidden one, by whatever tokens it is written.

    constraint = PhraseConstraint(spelling, required=["in 3"], forbidden=["cat"], end=2, size=8000, closed=[0, 1])
    constraint.follow(constraint.start, id), constraint.costs(constraint.start)

A state is (state of the automaton over characters, bytes of an incomplete character, required phrases found so far).
`need` is the length of the shortest known ending of the answer: the phrase that was begun is completed, then the other
required phrases follow, each in the tokenizer's own tokens. Every such ending is run through the automaton before it
counts, so none contains a forbidden phrase, not even one that arises between two required ones.

Lexical constraints in beam search: Hokamp and Liu 2017; banks: Post and Vilar 2018. Shapes: V ids, S states.
"""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from antiphon.constraints.automaton import OUTSIDE_WORD, Automaton, is_forbidden
from antiphon.constraints.constraint import CLOSED, DEAD, Constraint
from antiphon.constraints.spelling import TokenTexts, letter_behind
from antiphon.constraints.token_transitions import TokenTransitions
from antiphon.words import joins

State = tuple[int, bytes, int]
MAX_SEARCHED_STATES = 4096  # states that are searched for an ending, before the phrases count as contradictory
SEPARATORS = ("", " ", ", ", ". ", "; ", " - ", "\n")  # texts between two required phrases, tried in this order


class PhraseConstraint(Constraint):
    """Required and forbidden phrases of one answer.

    `closed` are the ids that must never follow, `end` is the end token, `size` is V. If a phrase is required, the
    answer always ends with the end token.
    """

    def __init__(
        self,
        spelling: TokenTexts,
        *,
        required: Sequence[str] = (),
        forbidden: Sequence[str] = (),
        end: int,
        size: int,
        closed: Sequence[int] = (),
    ) -> None:
        self.spelling, self.end, self.size, self.closed = spelling, end, size, list(closed)
        self.automaton = automaton = Automaton(required, forbidden)
        self.banked = bool(required)
        self.splits = not required and not any(char.isspace() for phrase in forbidden for char in phrase)
        self.token_transitions = TokenTransitions(spelling, automaton)
        begun = {char.encode()[:n] for phrase in required for char in phrase for n in (1, 2, 3)}
        read = (_decode(spelling.bytes[id]) for id in spelling.fragments)
        self.fragment_texts = [
            (text, rest) if rest in begun or not rest else (text + "\ufffd", b"") for text, rest in read
        ]
        self.phrase_ids = [_own_tokens(spelling, phrase) for phrase in required]
        self._numbers: dict[State, int] = {}
        self.states: list[State] = []
        self._needs: dict[State, int] = {}
        self._known_needs: dict[State, int] = {}  # lengths of endings, found as parts of longer ones
        self._costs: dict[int, Tensor] = {}
        self.start = self._number((OUTSIDE_WORD, b"", 0))

    def need(self, state: int) -> int:
        return CLOSED if state == DEAD else self._need(self.states[state])

    def follow(self, state: int, id: int) -> int:
        if state == DEAD or id in self.closed:
            return DEAD
        if id == self.end:
            return state if self._is_complete(self.states[state]) else DEAD
        following = self._advance(self.states[state], self.spelling.bytes[id] if id < len(self.spelling.bytes) else b"")
        return DEAD if following is None else self._number(following)

    def costs(self, state: int) -> Tensor:
        if state == DEAD:
            return torch.full((self.size,), CLOSED, dtype=torch.int16)
        own = self._need(self.states[state])  # first: it may lower what is needed after one of the tokens
        if state not in self._costs:
            self._costs[state] = self._compute_costs(self.states[state], own)
        return self._costs[state]

    def _number(self, state: State) -> int:
        number = self._numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
        return number

    def _advance(self, state: State, content: bytes) -> State | None:
        """The state after the bytes `content`; None if they complete a forbidden phrase."""
        place, pending, met = state
        if not content:
            return state
        text, pending = _decode(pending + content)
        place, found = self.automaton.read(place, text)
        return None if is_forbidden(found) else (place, pending, met | found)

    def _found_at_end(self, state: State) -> int:
        """The phrases that have been found if the answer ends here, forbidden ones included."""
        place, pending, met = state
        if pending:
            place, found = self.automaton.read(place, "\ufffd")
            met |= found
        return met | self.automaton.found_at_border[place]

    def _is_complete(self, state: State) -> bool:
        return self._found_at_end(state) == self.automaton.all_required

    def _compute_costs(self, state: State, own: int) -> Tensor:
        costs = torch.full((self.size,), own if own < CLOSED else CLOSED, dtype=torch.int16)  # for ids without text
        place, pending, met = state
        reads = (place, 0)
        if pending:  # the incomplete character stays incomplete: U+FFFD
            reads = self.automaton.read(place, "\ufffd")
        if is_forbidden(reads[1]):
            costs[self.spelling.whole] = CLOSED
        else:
            costs[self.spelling.whole] = self._costs_of_whole_characters(reads[0], met | reads[1])
        costs[self.spelling.fragments] = self._costs_of_fragments(state)
        costs[self.closed] = CLOSED
        costs[self.end] = 0 if self._is_complete(state) else CLOSED
        return costs

    def _costs_of_whole_characters(self, place: int, met: int) -> Tensor:
        """The costs of the ids that write whole characters. Many lead to the same state, which is computed once."""
        places, found, bad = self.token_transitions.outcomes(place)
        costs = torch.full_like(places, CLOSED, dtype=torch.int16)
        for new in found[~bad].unique().tolist():
            those = (found == new).nonzero()[:, 0]
            reached = places[those]
            needs = torch.full((len(self.automaton.transitions),), CLOSED, dtype=torch.int16)
            for following in torch.bincount(reached).nonzero()[:, 0].tolist():
                needs[following] = self._need((following, b"", met | new))
            costs[those] = needs[reached]
        return costs

    def _costs_of_fragments(self, state: State) -> Tensor:
        """The costs of the ids that write parts of characters.

        If no phrase contains such a part, it counts as an unreadable character, so most parts have equal costs. Not so
        right after a forbidden phrase: the part may become a letter that makes the phrase part of a longer word.
        """
        if state[1] or is_forbidden(self.automaton.found_at_border[state[0]]):
            reads = [self._advance(state, self.spelling.bytes[id]) for id in self.spelling.fragments]
            costs = [CLOSED if following is None else self._need(following) for following in reads]
            return torch.tensor(costs, dtype=torch.int16)
        known: dict[tuple[str, bytes], int] = {}
        for text, rest in self.fragment_texts:
            if (text, rest) not in known:
                place, found = self.automaton.read(state[0], text)
                known[text, rest] = CLOSED if is_forbidden(found) else self._need((place, rest, state[2] | found))
        return torch.tensor([known[part] for part in self.fragment_texts], dtype=torch.int16)

    def _need(self, state: State) -> int:
        found = self._needs.get(state)
        if found is None:
            place, pending, met = state
            found = self._shortest_ending(state)
            if pending:  # an incomplete character may stay so: U+FFFD
                after, seen = self.automaton.read(place, "\ufffd")
                found = min(found, CLOSED if is_forbidden(seen) else self._need((after, b"", met | seen)))
                if found == CLOSED:
                    found = self._need_after_letter(state)
            elif found == CLOSED:
                found = self._need_after_any(state)
            found = self._needs[state] = min(found, self._known_needs.get(state, CLOSED))
        return found

    def _need_after_letter(self, state: State) -> int:
        """The need if the incomplete character must become a letter, lest a forbidden phrase is complete."""
        rest = letter_behind(state[1])
        ids = None if rest is None else self.spelling.spell(rest)
        reached = None if ids is None else self._advance_all(state, ids)
        if ids is None or reached is None or (need := self._need(reached)) == CLOSED:
            return CLOSED
        self._remember(state, ids, len(ids) + need)
        return len(ids) + need

    def _need_after_any(self, state: State) -> int:
        """The need if no ending is known: breadth-first search for the nearest state with one, over all tokens."""
        level, seen = {state}, {state}
        for length in range(1, self.size):
            level = {
                (after, b"", met | new)
                for place, _, met in level
                for after, new in self.token_transitions.different(place)
            } - seen
            seen |= level
            found = min((self._shortest_ending(following) for following in level), default=CLOSED)
            if found < CLOSED:
                return length + found
            if not level or len(seen) > MAX_SEARCHED_STATES:
                break
        return CLOSED

    def _shortest_ending(self, state: State) -> int:
        """The length of the shortest ending that was found. The end token counts if a phrase is required."""
        if self._is_complete(state):
            return int(self.banked)
        best = CLOSED
        for begun in self._begun_phrases(state):
            best = min(best, self._ending_length(state, begun))
        return best

    def _begun_phrases(self, state: State) -> Iterator[bytes]:
        """The remaining bytes of each required phrase that was begun; then none, to begin another phrase."""
        place, pending, met = state
        automaton, at = self.automaton, place
        missing = automaton.all_required & ~self._found_at_end((place, b"", met))
        while at > 1:
            for i in automaton.phrases_through[at]:
                left = automaton.required[i][automaton.depth[at] :].encode()
                if missing >> i & 1 and left.startswith(pending):
                    yield left[len(pending) :]
            at = automaton.fallback[at]
        if missing and not pending:
            yield b""

    def _ending_length(self, state: State, begun: bytes) -> int:
        """The length of an ending that writes the bytes `begun`, then the missing phrases; CLOSED if none is found."""
        start = self.spelling.spell(begun)
        if start is None:
            return CLOSED
        phrases = sorted(range(len(self.phrase_ids)), key=lambda i: -len(self.automaton.required[i]))
        turns = [phrases[i:] + phrases[:i] for i in range(len(phrases))]
        for order in (*turns, *(turn[::-1] for turn in turns)):
            ids = self._ending(state, start, order)
            if ids is not None:
                self._remember(state, ids, len(ids) + 1)
                return len(ids) + 1
        return CLOSED

    def _ending(self, state: State, start: Sequence[int], order: Sequence[int]) -> list[int] | None:
        """The ids `start`, then those of the missing phrases in this `order`; None if the end must not follow."""
        ids, reached = list(start), self._advance_all(state, start)
        for i in order:
            if reached is None:
                return None
            if self._found_at_end(reached) >> i & 1:
                continue
            for form in self.phrase_ids[i]:
                after = self._advance_all(reached, form)
                if (
                    after is not None
                    and self._found_at_end(after) >> i & 1
                    and not is_forbidden(self._found_at_end(after))
                ):
                    break
            else:
                return None
            ids, reached = [*ids, *form], after
        return ids if reached is not None and self._is_complete(reached) else None

    def _advance_all(self, state: State | None, ids: Sequence[int]) -> State | None:
        for id in ids:
            if state is None:
                return None
            state = self._advance(state, self.spelling.bytes[id])
        return state

    def _remember(self, state: State, ids: Sequence[int], length: int) -> None:
        """Remember an ending of `length` tokens that begins with `ids`, and those after each of its tokens."""
        reached: State | None = state
        for id in ids:
            reached = self._advance(reached, self.spelling.bytes[id]) if reached is not None else None
            assert reached is not None
            length -= 1
            if length < self._known_needs.get(reached, CLOSED):
                self._known_needs[reached] = length
                if length < self._needs.get(reached, 0):
                    self._needs[reached] = length
                    self._costs.pop(self._number(reached), None)  # computed again, with the token of this ending


def _own_tokens(spelling: TokenTexts, phrase: str) -> list[tuple[int, ...]]:
    """The ids that may write a phrase after others: first the tokenizer's own, then the fewest."""
    ids = spelling.tokenizer.visible(spelling.tokenizer.encode(phrase))
    written = b"".join(spelling.bytes[id] for id in ids)
    forms = [tuple(ids)] if written in (phrase.encode(), b" " + phrase.encode()) else []
    spaced = spelling.spell(b" ")
    if forms and written == phrase.encode() and spaced is not None and joins(phrase[0]):
        forms.append((*spaced, *ids))
    spelled = (spelling.spell((between + phrase).encode()) for between in SEPARATORS)
    forms += [form for form in spelled if form is not None and form not in forms]
    return forms


def _decode(content: bytes) -> tuple[str, bytes]:
    """The complete characters in `content`, and the bytes of an incomplete one at its end."""
    with contextlib.suppress(UnicodeDecodeError):
        return content.decode(), b""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return decoder.decode(content), decoder.getstate()[0]
