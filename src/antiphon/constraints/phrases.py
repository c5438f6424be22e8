"""Answers whose text holds all required phrases and no forbidden one, whatever tokens write it.

    found = PhraseConstraint(spelling, required=["in 3"], forbidden=["cat"], end=2, size=8000, closed=[0, 1])
    found.follow(found.start, id), found.costs(found.start)

A state is (state of the automaton over characters, bytes of a character that is not whole yet, required phrases that
were found). `need` is the length of an answer's rest that is known to be right: the phrase that was begun is ended,
then the others follow, each in the tokenizer's own tokens; every such rest is read by the automaton before it counts,
so a forbidden phrase that would arise between two required ones is avoided. Lexical constraints in beam search: Hokamp
and Liu 2017; banks: Post and Vilar 2018. Shapes: V ids, S states of the automaton.
"""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from antiphon.constraints.automaton import FREE, Automaton, is_bad
from antiphon.constraints.restriction import CLOSED, DEAD, Constraint
from antiphon.constraints.spelling import TokenTexts, joins, letter_behind

State = tuple[int, bytes, int]
MOST_STATES = 4096  # that are looked at for a rest, before phrases are said to exclude each other
BETWEEN = ("", " ", ", ", ". ", "; ", " - ", "\n")  # what may stand between two required phrases, tried in this order


class PhraseConstraint(Constraint):
    """`closed` are the ids that never follow. Where a phrase is required an answer ends by itself, within its limit."""

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
        rows, now, later = automaton.tables()
        self.pass_ = _Pass(spelling, automaton, rows, now, later)
        begun = {char.encode()[:n] for phrase in required for char in phrase for n in (1, 2, 3)}
        read = (_decode(spelling.bytes[id]) for id in spelling.fragments)
        self.parts = [(text, rest) if rest in begun or not rest else (text + "\ufffd", b"") for text, rest in read]
        self.own = [_own_tokens(spelling, phrase) for phrase in required]
        self.numbers: dict[State, int] = {}
        self.states: list[State] = []
        self._needs: dict[State, int] = {}
        self._known: dict[State, int] = {}  # lengths of rests that were found on the way to others
        self._costs: dict[int, Tensor] = {}
        self.start = self._number((FREE, b"", 0))

    def need(self, state: int) -> int:
        return CLOSED if state == DEAD else self._need(self.states[state])

    def follow(self, state: int, id: int) -> int:
        if state == DEAD or id in self.closed:
            return DEAD
        if id == self.end:
            return state if self._whole(self.states[state]) else DEAD
        following = self._read(self.states[state], self.spelling.bytes[id] if id < len(self.spelling.bytes) else b"")
        return DEAD if following is None else self._number(following)

    def costs(self, state: int) -> Tensor:
        if state == DEAD:
            return torch.full((self.size,), CLOSED, dtype=torch.int16)
        own = self._need(self.states[state])  # first: it may find that less is needed behind one of the tokens
        if state not in self._costs:
            self._costs[state] = self._cost_of_each(self.states[state], own)
        return self._costs[state]

    def _number(self, state: State) -> int:
        number = self.numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
        return number

    def _read(self, state: State, content: bytes) -> State | None:
        """The state behind `content`; None where something forbidden is found."""
        place, pending, met = state
        if not content:
            return state
        text, pending = _decode(pending + content)
        place, found = self.automaton.read(place, text)
        return None if is_bad(found) else (place, pending, met | found)

    def _ended(self, state: State) -> int:
        """What has been found if the answer ends here, forbidden things included."""
        place, pending, met = state
        if pending:
            place, found = self.automaton.read(place, "\ufffd")
            met |= found
        return met | self.automaton.later[place]

    def _whole(self, state: State) -> bool:
        return self._ended(state) == self.automaton.everything

    def _cost_of_each(self, state: State, own: int) -> Tensor:
        costs = torch.full((self.size,), own if own < CLOSED else CLOSED, dtype=torch.int16)  # of ids without text
        place, pending, met = state
        reads = (place, 0)
        if pending:  # a whole character shows that the one before is none
            reads = self.automaton.read(place, "\ufffd")
        if is_bad(reads[1]):
            costs[self.spelling.whole] = CLOSED
        else:
            costs[self.spelling.whole] = self._costs_of_whole(reads[0], met | reads[1])
        costs[self.spelling.fragments] = self._costs_of_fragments(state)
        costs[self.closed] = CLOSED
        costs[self.end] = 0 if self._whole(state) else CLOSED
        return costs

    def _costs_of_whole(self, place: int, met: int) -> Tensor:
        """The costs of the ids that write whole characters, from their outcomes: few of them are different."""
        places, found, bad = self.pass_.outcomes(place)
        costs = torch.full_like(places, CLOSED, dtype=torch.int16)
        for new in found[~bad].unique().tolist():
            those = (found == new).nonzero()[:, 0]
            reached = places[those]
            needs = torch.full((len(self.automaton.rows),), CLOSED, dtype=torch.int16)
            for following in torch.bincount(reached).nonzero()[:, 0].tolist():
                needs[following] = self._need((following, b"", met | new))
            costs[those] = needs[reached]
        return costs

    def _costs_of_fragments(self, state: State) -> Tensor:
        """The costs of the ids that write parts of characters.

        Where no phrase goes on with such a part it is as good as a character that cannot be read, and most parts are
        alike; but what follows a forbidden phrase may be a letter that makes it another word.
        """
        if state[1] or is_bad(self.automaton.later[state[0]]):
            reads = [self._read(state, self.spelling.bytes[id]) for id in self.spelling.fragments]
            costs = [CLOSED if following is None else self._need(following) for following in reads]
            return torch.tensor(costs, dtype=torch.int16)
        known: dict[tuple[str, bytes], int] = {}
        for text, rest in self.parts:
            if (text, rest) not in known:
                place, found = self.automaton.read(state[0], text)
                known[text, rest] = CLOSED if is_bad(found) else self._need((place, rest, state[2] | found))
        return torch.tensor([known[part] for part in self.parts], dtype=torch.int16)

    def _need(self, state: State) -> int:
        found = self._needs.get(state)
        if found is None:
            place, pending, met = state
            found = self._shortest(state)
            if pending:  # a character that is not ended is one that cannot be read
                after, seen = self.automaton.read(place, "\ufffd")
                found = min(found, CLOSED if is_bad(seen) else self._need((after, b"", met | seen)))
                if found == CLOSED:
                    found = self._behind_letter(state)
            elif found == CLOSED:
                found = self._behind_others(state)
            found = self._needs[state] = min(found, self._known.get(state, CLOSED))
        return found

    def _behind_letter(self, state: State) -> int:
        """The need where a character must be ended as a letter, since any other would show a forbidden phrase."""
        rest = letter_behind(state[1])
        ids = None if rest is None else self.spelling.spell(rest)
        reached = None if ids is None else self._through(state, ids)
        if ids is None or reached is None or (need := self._need(reached)) == CLOSED:
            return CLOSED
        self._learn(state, ids, len(ids) + need)
        return len(ids) + need

    def _behind_others(self, state: State) -> int:
        """The need where no rest is known: the nearest state that has one, behind tokens of any kind."""
        level, seen = {state}, {state}
        for length in range(1, self.size):
            level = {
                (after, b"", met | new) for place, _, met in level for after, new in self.pass_.different(place)
            } - seen
            seen |= level
            found = min((self._shortest(following) for following in level), default=CLOSED)
            if found < CLOSED:
                return length + found
            if not level or len(seen) > MOST_STATES:
                break
        return CLOSED

    def _shortest(self, state: State) -> int:
        """The length of the shortest rest that was found, its end included where the answer must end."""
        if self._whole(state):
            return int(self.banked)
        best = CLOSED
        for begun in self._begun(state):
            best = min(best, self._rest(state, begun))
        return best

    def _begun(self, state: State) -> Iterator[bytes]:
        """What is left to be written of each phrase that was begun; then nothing, to begin any other."""
        place, pending, met = state
        automaton, at = self.automaton, place
        missing = automaton.everything & ~self._ended((place, b"", met))
        while at > 1:
            for i in automaton.passing[at]:
                left = automaton.required[i][automaton.depth[at] :].encode()
                if missing >> i & 1 and left.startswith(pending):
                    yield left[len(pending) :]
            at = automaton.back[at]
        if missing and not pending:
            yield b""

    def _rest(self, state: State, begun: bytes) -> int:
        """The length of a rest that writes `begun` and goes on with the phrases that are missing, longest first."""
        start = self.spelling.spell(begun)
        if start is None:
            return CLOSED
        phrases = sorted(range(len(self.own)), key=lambda i: -len(self.automaton.required[i]))
        turns = [phrases[i:] + phrases[:i] for i in range(len(phrases))]
        for order in (*turns, *(turn[::-1] for turn in turns)):
            ids = self._written(state, start, order)
            if ids is not None:
                self._learn(state, ids, len(ids) + 1)
                return len(ids) + 1
        return CLOSED

    def _written(self, state: State, start: Sequence[int], order: Sequence[int]) -> list[int] | None:
        """Ids that begin with `start`, hold the missing phrases in this order, and may be followed by the end."""
        ids, reached = list(start), self._through(state, start)
        for i in order:
            if reached is None:
                return None
            if self._ended(reached) >> i & 1:
                continue
            for form in self.own[i]:
                after = self._through(reached, form)
                if after is not None and self._ended(after) >> i & 1 and not is_bad(self._ended(after)):
                    break
            else:
                return None
            ids, reached = [*ids, *form], after
        return ids if reached is not None and self._whole(reached) else None

    def _through(self, state: State | None, ids: Sequence[int]) -> State | None:
        for id in ids:
            if state is None:
                return None
            state = self._read(state, self.spelling.bytes[id])
        return state

    def _learn(self, state: State, ids: Sequence[int], length: int) -> None:
        """What is left behind each token of a rest is a rest, too; the whole one begins with `ids`."""
        reached: State | None = state
        for id in ids:
            reached = self._read(reached, self.spelling.bytes[id]) if reached is not None else None
            assert reached is not None
            length -= 1
            if length < self._known.get(reached, CLOSED):
                self._known[reached] = length
                if length < self._needs.get(reached, 0):
                    self._needs[reached] = length
                    self._costs.pop(self._number(reached), None)  # it must show a token of this rest


class _Pass:
    """Where each token of whole characters leads from a state: (n,) states, (n,) what is found, (n,) bool forbidden."""

    def __init__(self, spelling: TokenTexts, automaton: Automaton, rows: Tensor, now: Tensor, later: Tensor) -> None:
        self.automaton, self.rows, self.now, self.later = automaton, rows, now, later
        self.joined = torch.tensor(automaton.joined_symbols)
        symbols = torch.tensor([*map(automaton.symbol, spelling.alphabet), 0])
        self.symbols = symbols[spelling.chars]  # (n, L)
        self.counts = spelling.counts
        self._found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def outcomes(self, place: int) -> tuple[Tensor, Tensor, Tensor]:
        if place not in self._found:
            self._found[place] = self._outcomes(place)
        return self._found[place]

    def different(self, place: int) -> set[tuple[int, int]]:
        """The pairs of a state and what is found that some token leads to, forbidden ones left out."""
        places, found, bad = self.outcomes(place)
        return set(zip(places[~bad].tolist(), found[~bad].tolist(), strict=True))

    def _outcomes(self, place: int) -> tuple[Tensor, Tensor, Tensor]:
        root = int(self.automaton.joined[place])
        if place == root:
            places, found = self._run(torch.full((len(self.symbols),), place), self.symbols, self.counts)
            return places, found, found >= 1 << 62
        # The tokens whose first character leads elsewhere than from the root are few; for the others only an end of a
        # phrase is found besides.
        places, found, _ = self.outcomes(root)
        first = self.symbols[:, 0]
        found = found | torch.where(self.joined[first], 0, self.later[place])
        others = (self.rows[place] != self.rows[root])[first].nonzero()[:, 0]
        if len(others):
            symbols, counts = self.symbols[others], []
            for j in range(symbols.shape[1]):
                counts.append(int(torch.searchsorted(others, self.counts[j])))  # the longer tokens come first
            own = self._run(torch.full((len(others),), place), symbols, counts)
            places, found = places.clone(), found.clone()
            places[others], found[others] = own
        return places, found, found >= 1 << 62

    def _run(self, places: Tensor, symbols: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
        found = torch.zeros_like(places)
        for j, count in enumerate(counts):
            if not count:
                break
            at, read = places[:count], symbols[:count, j]
            found[:count] |= torch.where(self.joined[read], 0, self.later[at])
            places[:count] = self.rows[at, read]
            found[:count] |= self.now[places[:count]]
        return places, found


def _own_tokens(spelling: TokenTexts, phrase: str) -> list[tuple[int, ...]]:
    """The ways in which a phrase may follow others: in the tokenizer's own tokens, then in the fewest."""
    ids = spelling.tokenizer.visible(spelling.tokenizer.encode(phrase))
    written = b"".join(spelling.bytes[id] for id in ids)
    forms = [tuple(ids)] if written in (phrase.encode(), b" " + phrase.encode()) else []
    spaced = spelling.spell(b" ")
    if forms and written == phrase.encode() and spaced is not None and joins(phrase[0]):
        forms.append((*spaced, *ids))
    spelled = (spelling.spell((between + phrase).encode()) for between in BETWEEN)
    forms += [form for form in spelled if form is not None and form not in forms]
    return forms


def _decode(content: bytes) -> tuple[str, bytes]:
    """The characters that are certain, and the bytes of one that is not whole."""
    with contextlib.suppress(UnicodeDecodeError):
        return content.decode(), b""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return decoder.decode(content), decoder.getstate()[0]
