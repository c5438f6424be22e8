"""The results of `generate`: an answer, and a list of answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, SupportsIndex, overload

from antiphon.display import Markup, bar, joined, note, panel, table, tokens
from antiphon.generation.timed.segments import SpeechSegment

MOST_SHOWN = 50  # answers, alternatives or labels in one table


@dataclass(frozen=True)
class Generation:
    """An answer.

    `tokens` excludes special tokens. `score` is the model's own sum of log-probabilities in nats, before any logits
    processor or temperature, including a forced prefix and the end token; `confidence` is exp(score / tokens), the
    geometric mean of the tokens' probabilities. `finished`: whether the answer ended with its end token.
    `alternatives` are the other hypotheses, best first by the search's ranking.

    `probabilities` of a classification are those of its labels, which add up to 1. The probability of the answer is
    `probabilities[text]`. `score` is the log-probability of the label's text among all texts, so exp(score) is smaller
    than that if the model gives probability to texts that are no label; `confidence` is its mean per token.

    `segments` are those of an answer to speech with timestamps, `language` is the code of the language that is spoken.
    """

    text: str
    tokens: list[str]
    score: float
    confidence: float
    finished: bool
    alternatives: list[Generation] = field(default_factory=list)
    probabilities: dict[str, float] | None = None
    rerank_score: float | None = None
    segments: list[SpeechSegment] | None = None
    language: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The answer and its alternatives as an object of `antiphon generate --json`."""
        return {**self._own_json(), "alternatives": [other._own_json() for other in self.alternatives]}

    def _own_json(self) -> dict[str, Any]:
        probabilities = {} if self.probabilities is None else {"probabilities": self.probabilities}
        return {
            "text": self.text,
            "tokens": list(self.tokens),
            "score": self.score,
            "confidence": self.confidence,
            "finished": self.finished,
            **probabilities,
            **({} if self.rerank_score is None else {"rerank_score": self.rerank_score}),
            **({} if self.segments is None else {"segments": [segment.as_json() for segment in self.segments]}),
            **({} if self.language is None else {"language": self.language}),
        }

    def __repr__(self) -> str:
        facts = [f"score {self.score:.3f}", f"confidence {self.confidence:.1%}", _ending(self)]
        if self.alternatives:
            facts.append(f"{len(self.alternatives)} alternative{'' if len(self.alternatives) == 1 else 's'}")
        return f"Generation({self.text!r}, {', '.join(facts)})"

    def _repr_html_(self) -> str:
        """The answer with its tokens, figures and alternatives, as HTML for notebooks."""
        parts = [note(f"score {self.score:.3f} nats · confidence {self.confidence:.1%} · {_ending(self)}")]
        if self.tokens:
            parts.append(tokens(self.tokens))
        if self.probabilities is not None:
            ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
            rows = [[label, f"{share:.1%}", bar(share, width="10em")] for label, share in ranked[:MOST_SHOWN]]
            parts += [table(["label", "probability", ""], rows, right={1}), *_rest(len(ranked))]
        elif self.alternatives:
            parts += [_table(self.alternatives, first=2, head="alternative"), *_rest(len(self.alternatives))]
        return panel(self.text or "(an empty answer)", *parts)


class Answers(list[Generation]):
    """The answers of `generate`, in the order of its inputs: a list with an HTML table for notebooks."""

    def __init__(self, answers: Iterable[Generation] = ()) -> None:
        super().__init__(answers)

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> Generation: ...
    @overload
    def __getitem__(self, place: slice, /) -> Answers: ...
    def __getitem__(self, place: SupportsIndex | slice, /) -> Generation | Answers:
        found = super().__getitem__(place)
        return found if isinstance(found, Generation) else Answers(found)

    def _repr_html_(self) -> str:
        """The answers, one per row, as HTML for notebooks."""
        title = f"{len(self)} answer{'' if len(self) == 1 else 's'}"
        return panel(title, _table(self, first=1, head="answer"), *_rest(len(self))) if self else panel(title)


def _table(answers: list[Generation], *, first: int, head: str) -> Markup:
    shown = answers[:MOST_SHOWN]
    others = any(answer.alternatives for answer in shown)
    rows = []
    for place, answer in enumerate(shown, first):
        text = Markup("") if answer.text else note("(empty)")
        row = [str(place), answer.text or text, f"{answer.score:.3f}", f"{answer.confidence:.1%}", _ending(answer)]
        if others:
            row.append(joined(*(note(other.text) for other in answer.alternatives[:3])))
        rows.append(row)
    heads = ["", head, "score", "confidence", "end", *(["alternatives"] if others else [])]
    return table(heads, rows, right={0, 2, 3})


def _ending(answer: Generation) -> str:
    return "finished" if answer.finished else "cut at the limit"


def _rest(count: int) -> list[Markup]:
    return [note(f"and {count - MOST_SHOWN} more")] if count > MOST_SHOWN else []
