"""The first different ones of an endless random sequence: what generated suites and prompts are made of."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from dipo_eval.errors import UserError

MAX_REPEATS = 10_000
"""So many in a row that were there already: there are no more."""
T = TypeVar("T")


def distinct(drawn: Iterable[T], count: int, key: Callable[[T], Hashable], shortage: str) -> list[T]:
    """The first `count` of `drawn` whose keys differ, in their order.

    `shortage`: the message where there are fewer, with {found} for how many there are. Raises UserError with it.
    """
    found: dict[Hashable, T] = {}
    repeats = 0
    for one in drawn:
        if len(found) == count:
            break
        identity = key(one)
        repeats = repeats + 1 if identity in found else 0
        if repeats > MAX_REPEATS:
            raise UserError(shortage.format(found=len(found)))
        found.setdefault(identity, one)
    return list(found.values())
