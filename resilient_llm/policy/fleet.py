"""What is said between stages and the state that they share, and how much of it is kept in mind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import attrs

if TYPE_CHECKING:
    from collections import OrderedDict

Known = TypeVar("Known")

MAX_RECORDS: Final = 4096
"""How many circuits, cool-downs and budgets are shared at most."""


@attrs.frozen
class News:
    """What is known of one thing that is shared.

    Args:
        field: Which: `circuit|scope|key`, `cool|scope|key` or `spent|scope|key`.
        word: Of a circuit `open`, `closed`, `held` (a probe is under way), `granted` (it is yours) or `none`;
            else `cool`, `spent` or `none`.
        value: Seconds for which that still lasts; of a retry budget, what is spent.
        epoch: Counts the changes of a circuit; later ones have larger numbers.
        duration: Of a circuit, how many seconds it stayed open the last time.
        why: Of a circuit, why it opened.
    """

    field: str
    word: str
    value: float = 0.0
    epoch: int = 0
    duration: float = 0.0
    why: str = ""


@attrs.frozen
class Wanted:
    """A portion of one limit.

    Args:
        name: Which limit.
        allowance: How much of it there is in a window.
        slot: Seconds; a 120th of the window, which is two slots longer for the time that portions and slots last.
        need: Without this much the answer is no.
        more: What is taken beyond that, if it is there.
        unused: What was taken and not used: pairs of an amount and how many seconds ago it was taken.
    """

    name: str
    allowance: float
    slot: float
    need: float
    more: float = 0.0
    unused: tuple[tuple[float, float], ...] = ()


@attrs.frozen
class Portions:
    """The answer: what was given of each limit, or how many seconds to wait before asking again."""

    given: tuple[float, ...] = ()
    wait: float = 0.0


def remember(known: OrderedDict[str, Known], field: str, what: Known) -> None:
    """Take note of what belongs to a field; above as many as are shared the oldest is forgotten."""
    known[field] = what
    if len(known) > MAX_RECORDS:
        known.popitem(last=False)
