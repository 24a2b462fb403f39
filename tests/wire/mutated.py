"""Sound JSON with something wrong in it: what a backend of another version, a gateway or a bug makes of an answer."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ODD: Final = (
    *(None, True, 0, -1, 1.5, 10**30, "", "x", "\ud800", "9"),
    *([], {}, [None], [[]], [{}], ["x"], {"a": None}),
)


def variants(sound: Any, odd: Sequence[Any] = ODD) -> Iterator[Any]:
    """The value with each of its parts missing once, and once replaced by each of the odd ones."""
    for path in list(_paths(sound)):
        value = copy.deepcopy(sound)
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        del holder[path[-1]]
        yield value
        for other in odd:
            value = copy.deepcopy(sound)
            holder = value
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = copy.deepcopy(other)
            yield value


def shape(value: Any) -> Any:
    """What two values have in common whose variants need not both be tried."""
    if isinstance(value, dict):
        return tuple(sorted((key, shape(part)) for key, part in value.items()))
    if isinstance(value, list):
        return tuple(map(shape, value))
    return type(value).__name__


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from _paths(part, (*path, key))
