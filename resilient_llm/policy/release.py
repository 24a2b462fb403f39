"""How fast those who were held back may go after a cool-down: at the pace that the backend was seen to bear.

The rules of this file:

- It begins with as many calls a second as were answered just before the refusal. Of a backend that answered hardly
  any, nothing is known, and nobody is held back by this.
- A refusal of a call that went at the pace halves it, though not below half of what was borne at first: the rest is
  what cool-downs are for. With the answers it grows, by a sixth in the time that an answer takes.
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

GROWTH: Final = 0.16
"""By what share the pace grows in the time that an answer takes."""

QUICKEST: Final = 0.05
"""Seconds; it grows no faster than if answers took so long."""

LEAST: Final = 0.5
"""The share of what was borne below which refusals alone do not bring the pace: less is for cool-downs to see to."""

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
    """Its waits are those of a rate that grows with each call: the soonest that anybody's turn may come.

    Args:
        growth: By how many calls a second each answer raises the rate.
    """

    growth: float = GROWTH

    @classmethod
    def of(cls, rate: float, at: float, growth: float = GROWTH) -> Growing:
        """One call is in it at the instant `at`, when it begins to fill."""
        rate = max(SLOWEST, rate)
        name = "the pace after a rate limit"
        return cls(name, Count.REQUESTS, _capacity(rate), rate, 1.0, at, growth=growth)

    def change(self, rate: float, now: float) -> None:
        """From now on it fills at this rate."""
        self._fill(now)
        self.rate, self.capacity = rate, _capacity(rate)

    def _comes(self, missing: float, _now: float) -> float:
        return math.log1p(self.growth * missing / self.rate) / self.growth


def _capacity(rate: float) -> float:
    return max(1.0, BURST * rate)


class Delay:
    """How long answers take, and whether that is far longer than it was.

    Attributes:
        typical: The mean of late, in seconds.
    """

    __slots__ = ("_least", "_number", "typical")

    def __init__(self) -> None:
        self._least = math.inf
        self._number, self.typical = 0, 0.0

    def late(self, seconds: float) -> bool:
        """One took so long: do they all take far too long? If so, a new mean is begun."""
        self._number += 1
        self.typical += (seconds - self.typical) / min(self._number, SMOOTH)
        if self._number < FEW:
            return False
        self._least = min(self._least, self.typical)
        if self.typical <= LATE * max(self._least, MOMENT):
            return False
        self._number = 0
        return True


class Release:
    """The pace of one key after a refusal. Pure in `now` (monotonic seconds); its owner locks.

    Attributes:
        bucket: What gives the calls their pace; None: nothing does.
    """

    __slots__ = ("_borne", "_delay", "_fell", "_until", "bucket")

    def __init__(self) -> None:
        self.bucket: Growing | None = None
        self._delay = Delay()
        self._borne = 0.0
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
            self._fell, self._delay, self._borne = now, Delay(), seen
            self.bucket = Growing.of(seen, again) if seen else None
        elif sent >= self._fell:
            self._fell = now
            self._borne = self._borne or seen
            rate = seen if self.bucket is None else self.bucket.rate
            rate = min(rate, max(rate / 2, LEAST * self._borne))
            self.bucket = Growing.of(rate, again, self._growth()) if rate else None
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
            self.bucket.growth = self._growth()
            self.bucket.change(rate + self.bucket.growth, now)

    def _growth(self) -> float:
        """By how many calls a second each answer raises the pace: by such a share in the time of an answer."""
        return GROWTH / max(QUICKEST, self._delay.typical) if self._delay.typical else GROWTH
