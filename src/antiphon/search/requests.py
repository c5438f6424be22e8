"""What a search is asked: a source, with the limit, the prefix and the constraint of its answer.

    request = make_request(SourceInput([5, 6, 2], row=0), GenerationConfig(), network=network)

`make_request` checks sources, prefixes, constraints and limits against what the network takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from antiphon.config import GenerationConfig
from antiphon.constraints.constraint import CLOSED, DEAD, Constraint
from antiphon.constraints.trie import TrieConstraint
from antiphon.errors import ConfigError, DataError
from antiphon.inputs.limits import check_source, source_limit
from antiphon.models.protocol import Seq2Seq

WINDOWED_ANSWER_TOKENS = 512  # the usual longest answer to a source that is read in windows


@dataclass(frozen=True, slots=True)
class SourceInput:
    """A source of the user: ids, or features (S, F).

    `row` is its index in the input, `piece` its index among the pieces of a row that was split. `prefix` are the ids
    with which its answer begins, `restriction` is the constraint of the answer; `gap` is the white space before the
    piece. `prompt` are the ids that the decoder reads before the answer. `text_tokens`: the number of tokens of a text
    that is read as features, on which the usual length of an answer depends.
    """

    ids: list[int] | Tensor
    row: int
    piece: int = 0
    prefix: tuple[int, ...] = ()
    restriction: Constraint | None = None
    gap: str = ""
    prompt: tuple[int, ...] = ()
    text_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A source to answer, as ids or features (S, F), with the details that a search needs.

    `prefix` are the ids with which the answer begins, the first tokens of `SpecialTokens` included. `limit` is the
    largest number of tokens of the answer, prefix and end included. `row` and `piece` are the key of the random
    numbers. If there is a `restriction`, the prefix satisfies it, and the tokens that it needs after the prefix fit
    into `limit`. `seed` is that of sampling.
    """

    source: list[int] | Tensor
    limit: int
    prefix: list[int] = field(default_factory=list)
    row: int = 0
    piece: int = 0
    restriction: Constraint | None = None
    seed: int = 0


def make_request(
    source: SourceInput, config: GenerationConfig, *, network: Seq2Seq, first: Sequence[int] = ()
) -> Request:
    """The request for a source, whose answer begins with the ids `first`.

    ConfigError or DataError if source, prefix, constraint or settings need more tokens than `network` takes.
    """
    max_length, limit = network.max_length, source_limit(network, config)
    if config.overflow != "window" and not isinstance(source.ids, Tensor):
        check_source(source.ids, limit, most=max_length, row=source.row)
    most = max_length - len(source.prefix) - len(first)
    if most < 1:
        raise DataError(
            f"the prefix of input {source.row + 1} must have fewer tokens than the model's max_length ({max_length}), "
            f"but has {len(source.prefix) + len(source.prompt)}{' with its prompt' * bool(source.prompt)}. Shorten it."
        )
    _check_new_tokens(config, max_length, most)
    needed, longest = constraint_lengths(source)
    new_tokens = config.max_new_tokens or max(
        _usual_length(source, most, limit) + needed, config.min_new_tokens + 1, longest
    )
    new_tokens = min(new_tokens, most)
    if max(needed, longest) > new_tokens:
        what = "what is required in the answer" if longest == 0 else "the longest allowed text"
        raise DataError(
            f"{what} of input {source.row + 1} must fit into {new_tokens} tokens, but needs "
            f"{max(needed, longest)}, the end included. Raise `max_new_tokens` up to the model's max_length "
            f"({max_length}), or shorten it."
        )
    return Request(
        source.ids,
        len(first) + len(source.prefix) + new_tokens,
        prefix=[*first, *source.prefix],
        row=source.row,
        piece=source.piece,
        restriction=source.restriction,
        seed=config.seed,
    )


def _usual_length(source: SourceInput, most: int, limit: int) -> int:
    """The largest number of new tokens where the settings do not say it, of at most `most`.

    A function of the source's length, but for features; a source beyond `limit` is read in windows.
    """
    length = source.text_tokens
    if length is None and isinstance(source.ids, Tensor):
        return most
    length = len(source.ids) if length is None else length
    usual = 2 * length + 32
    return usual if length <= limit else min(usual, max(limit, WINDOWED_ANSWER_TOKENS))


def _check_new_tokens(config: GenerationConfig, max_length: int, most: int) -> None:
    """ConfigError if `max_new_tokens` or `min_new_tokens` is more than an answer may have; `most` without prefix."""
    if config.max_new_tokens is not None and config.max_new_tokens > max_length:
        raise ConfigError(
            f"`max_new_tokens` must be at most the model's max_length ({max_length}), but is {config.max_new_tokens}. "
            "Lower it."
        )
    if config.min_new_tokens > most:
        raise ConfigError(
            f"`min_new_tokens` must be at most what the model's max_length leaves ({most}), "
            f"but is {config.min_new_tokens}. Lower it."
        )


def constraint_lengths(source: SourceInput) -> tuple[int, int]:
    """The tokens that a constrained answer needs after its prefix, and those of the longest allowed text, or 0.

    DataError if the prefix violates the constraint, or no answer can satisfy it after the prefix.
    """
    constraint = source.restriction
    if constraint is None:
        return 0, 0
    state = constraint.start
    for id in source.prefix:
        state = constraint.follow(state, id)
    if state == DEAD:
        must = (
            "begin an allowed text, token by token"
            if isinstance(constraint, TrieConstraint)
            else "hold no forbidden phrase"
        )
        raise DataError(f"the prefix of input {source.row + 1} must {must}, but does not. Change one of the two.")
    needed = constraint.need(state)
    if needed == CLOSED:
        raise DataError(
            f"the required phrases of input {source.row + 1} must be able to stand together without a forbidden one, "
            "but no such answer was found. Take one of them out."
        )
    return needed, constraint.longest - len(source.prefix) if isinstance(constraint, TrieConstraint) else 0
