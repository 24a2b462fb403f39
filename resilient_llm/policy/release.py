"""How fast those who were held back may go after a cool-down: at the pace that the backend was seen to bear.

The rules of this file:

- It begins with as many calls a second as were answered just before the refusal. Of a backend that answered hardly
  any, nothing is known, and nobody is held back by this.
- A refusal of a call that went at the pace halves it. Each answer makes it faster by the same amount, so that it grows
  by a fifth in a second, whatever it is.
- Answers that take far longer than at first mean that calls pile up there. The pace falls below what is answered.
- Calls that were sent before it last fell change nothing.
- It ends when for a while nobody had to wait for it.

Precedents: adding after each answer, halving after a refusal from Jacobson, "Congestion Avoidance and Control" (1988);
delay as the sign of a queue from Brakmo and Peterson, "TCP Vegas" (1995).
"""

from __future__ import annotations

import math
from threading import RLock
from typing import TYPE_CHECKING, Final

import attrs

from .buckets import Bucket, Count
from .window import Window

if TYPE_CHECKING:
    from collections.abc import Hashable

SPAN: Final = 5.0
"""Seconds over which answers are counted."""

ENOUGH: Final = 5
"""Fewer answers within `SPAN` are no pace: they may be all that was asked for."""

SHORTEST: Final = 1.0
"""Seconds; a rate is not taken over less."""

SLOWEST: Final = 0.1
"""Calls a second."""

GROWTH: Final = 0.2
"""By how many calls a second each answer raises the pace."""

EASE: Final = 0.8
"""The share of what is answered that is sent to a backend where calls pile up."""

LATE: Final = 3.0
"""So many times as long as at first is far longer."""

MOMENT: Final = 0.5
"""Seconds; no answer counts as quicker."""

FEW, SMOOTH = 8, 16
"""A mean of fewer answers tells nothing; one of so many forgets the older."""

CALM: Final = 10.0
"""Seconds without anybody waiting for it, after which the pace ends."""

BURST: Final = 0.1
"""Seconds; what comes in within them may go at once, for a loop that is late."""

MAX_KEYS: Final = 1024


class AnswerRates:
    """How many calls a second were answered lately, by key. Thread-safe; pure in `now` (monotonic seconds).

    Above `MAX_KEYS` the oldest is forgotten.
    """

    __slots__ = ("_counts", "_lock")

    def __init__(self) -> None:
        self._counts: dict[Hashable, tuple[Window, float]] = {}
        self._lock = RLock()

    def answered(self, key: Hashable, now: float) -> None:
        """A call was answered."""
        with self._lock:
            counts = self._counts.get(key)
            if counts is None:
                if len(self._counts) >= MAX_KEYS:
                    del self._counts[next(iter(self._counts))]
                counts = self._counts[key] = Window(SPAN, 20), now
            counts[0].add(now, failed=False)

    def per_second(self, key: Hashable, now: float) -> float:
        """The rate; 0 if too few were answered to tell."""
        with self._lock:
            counts = self._counts.get(key)
            if counts is None:
                return 0.0
            window, begun = counts
            answers = window.totals(now).successes
        return answers / min(SPAN, max(SHORTEST, now - begun)) if answers >= ENOUGH else 0.0


@attrs.define(eq=False)
class Growing(Bucket):
    """Its waits are those of a rate that grows with each call: the soonest that anybody's turn may come."""

    @classmethod
    def of(cls, rate: float, at: float) -> Growing:
        """One call is in it at the instant `at`, when it begins to fill."""
        rate = max(SLOWEST, rate)
        return cls("the pace after a rate limit", Count.REQUESTS, _capacity(rate), rate, 1.0, at)

    def change(self, rate: float, now: float) -> None:
        """From now on it fills at this rate."""
        self._fill(now)
        self.rate, self.capacity = rate, _capacity(rate)

    def _comes(self, missing: float, _now: float) -> float:
        return math.log1p(GROWTH * missing / self.rate) / GROWTH


def _capacity(rate: float) -> float:
    return max(1.0, BURST * rate)


class Delay:
    """How long answers take, and whether that is far longer than it was."""

    __slots__ = ("_least", "_number", "_typical")

    def __init__(self) -> None:
        self._least = math.inf
        self._number, self._typical = 0, 0.0

    def late(self, seconds: float) -> bool:
        """One took so long: do they all take far too long? If so, a new mean is begun."""
        self._number += 1
        self._typical += (seconds - self._typical) / min(self._number, SMOOTH)
        if self._number < FEW:
            return False
        self._least = min(self._least, self._typical)
        if self._typical <= LATE * max(self._least, MOMENT):
            return False
        self._number = 0
        return True


class Release:
    """The pace of one key after a refusal. Pure in `now` (monotonic seconds); its owner locks.

    Attributes:
        bucket: What gives the calls their pace; None: nothing does.
    """

    __slots__ = ("_delay", "_fell", "_until", "bucket")

    def __init__(self) -> None:
        self.bucket: Growing | None = None
        self._delay = Delay()
        self._fell = self._until = -math.inf

    def lasts(self, now: float) -> bool:
        """Is it in force? If not, it is forgotten."""
        if now < self._until:
            return True
        self.bucket = None
        return False

    def awaited(self, until: float) -> None:
        """Somebody has to wait for it until then."""
        self._until = max(self._until, until + CALM)

    def refused(self, sent: float, seen: float, now: float, again: float) -> None:
        """A call was refused for a limit.

        Args:
            sent: When it was sent.
            seen: How many calls a second were answered lately; 0: unknown.
            now: Monotonic seconds.
            again: When the cool-down ends.
        """
        if not self.lasts(now):
            self._fell, self._delay = now, Delay()
            self.bucket = Growing.of(seen, again) if seen else None
        elif sent >= self._fell:
            self._fell = now
            rate = seen if self.bucket is None else self.bucket.rate
            self.bucket = Growing.of(rate / 2, again) if rate else None
        self.awaited(again)

    def answered(self, sent: float, seen: float, now: float) -> None:
        """A call that was sent then was answered, as so many a second were lately."""
        if self.bucket is None or sent < self._fell:
            return
        rate = self.bucket.rate
        if self._delay.late(now - sent):
            self._fell = now
            self.bucket.change(max(SLOWEST, min(rate, EASE * seen) if seen else rate / 2), now)
        else:
            self.bucket.change(rate + GROWTH, now)
