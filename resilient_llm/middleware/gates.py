"""The gates of a rate limit, one for each key, and no more of them than needed."""

from __future__ import annotations

import math
from threading import RLock
from typing import TYPE_CHECKING, Final

from resilient_llm.line import Line
from resilient_llm.policy.release import AnswerRates

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from resilient_llm.policy.rate_limit import Pace, Ticket

MAX_GATES: Final = 1024
_EXAMINED: Final = 16
"""How many gates a new one examines for eviction: its cost is bounded, and every gate has its turn."""


class Gate:
    """What one key may send, and those who wait for it."""

    __slots__ = ("line", "pace")

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.line = Line()

    def changed(self) -> None:
        """There may be more than the first in line believes."""
        if len(self.line):
            self.line.wake()


class Gates:
    """Gates by key; thread-safe.

    Above `MAX_GATES` a new one evicts those that nobody would miss: that hold nobody back, and know of nothing that
    would. Where there are none the bound is exceeded.

    Args:
        make: Makes the pace of a new key, at an instant.

    Attributes:
        rates: What was answered lately, also where nobody needs a gate.
    """

    def __init__(self, make: Callable[[float], Pace]) -> None:
        self.rates = AnswerRates()
        self._make = make
        self._gates: dict[Hashable, Gate] = {}
        self._lock = RLock()
        self.find = self._gates.get

    def __len__(self) -> int:
        return len(self._gates)

    def get(self, key: Hashable, now: float) -> Gate:
        """The gate of a key, made at the first use."""
        with self._lock:
            gate = self._gates.get(key)
            if gate is None:
                gate = self._gates[key] = Gate(self._make(now))
                self._evict(key, now)
        return gate

    def limited(self, key: Hashable, asked: float | None, now: float, sent: float = -math.inf) -> Gate:
        """A call of the key was refused for a limit, here or elsewhere; see `Pace.limited`. Its gate."""
        gate = self.get(key, now)
        if gate.pace.limited(asked, now, sent=sent, seen=self.rates.per_second(key, now)):
            gate.line.wake_all()
        return gate

    def answered(self, key: Hashable, gate: Gate | None, ticket: Ticket, now: float) -> None:
        """A call of the key was answered, with or without a gate."""
        self.rates.answered(key, now)
        if gate is not None:
            gate.pace.taken(ticket, self.rates.per_second(key, now), now)

    def snapshot(self) -> dict[Hashable, Gate]:
        """All there are."""
        with self._lock:
            return dict(self._gates)

    def _evict(self, newest: Hashable, now: float) -> None:
        for _ in range(_EXAMINED):
            oldest = next(iter(self._gates))
            if len(self._gates) <= MAX_GATES or oldest == newest:
                return
            gate = self._gates.pop(oldest)
            if len(gate.line) or not gate.pace.idle(now):
                self._gates[oldest] = gate
