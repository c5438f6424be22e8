"""Errors of one rank that end all ranks, with one message.

    with together(world):
        recipe = read_recipe(file)                       # may fail on any rank
        fresh = exchange(world, check() if world.main else None)[0]

Within the context the ranks exchange values by `exchange` alone: a rank that fails meets the others in their next
exchange, or at the end of the context, so that none waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from antiphon import errors
from antiphon.distributed.failure import leave_to_main
from antiphon.distributed.world import World
from antiphon.errors import AntiphonError, WorkError

T = TypeVar("T")
PATIENCE_SECONDS = 2.0  # for rank 0 to report the error, before its launcher ends all ranks
_AGREED = "_antiphon_agreed"


@contextmanager
def together(world: World) -> Iterator[None]:
    """The context of work that all ranks complete, or none: an error of one rank is raised on all of them."""
    if world.size == 1:
        yield
        return
    try:
        yield
        exchange(world, None)
    except Exception as error:
        if getattr(error, _AGREED, False):
            raise
        kind = type(error).__name__ if isinstance(error, AntiphonError) else "WorkError"
        text = str(error) if isinstance(error, AntiphonError) else f"{type(error).__name__}: {error}"
        _raise_first(world, world.gather(((kind, text), None)), own=error)


def exchange(world: World, value: T) -> list[T]:
    """The `value` of every rank, in order. If one has failed in `together`, its error is raised on all ranks."""
    found = world.gather((None, value))
    _raise_first(world, found)
    return [each for _, each in found]


def _raise_first(
    world: World, found: Sequence[tuple[tuple[str, str] | None, object]], own: Exception | None = None
) -> None:
    """Raise the error of the first rank that has one. Rank 0 reports it."""
    for rank, (fault, _) in enumerate(found):
        if fault is None:
            continue
        kind, text = fault
        error = own if own is not None and rank == world.rank else None
        if error is None or rank:
            known = getattr(errors, kind, WorkError)
            error = (known if issubclass(known, AntiphonError) else WorkError)(
                text if rank == 0 else f"rank {rank}: {text}"
            )
        setattr(error, _AGREED, True)
        if not world.main:
            leave_to_main()
            time.sleep(PATIENCE_SECONDS)
        raise error from own
