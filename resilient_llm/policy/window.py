"""A rolling count of successes and failures, kept in buckets of time.

The oldest bucket is dropped whole, so a window of 120 s in 12 buckets covers the last 110 to 120 s. The
precedent is Polly's rolling health metrics.
"""

from __future__ import annotations

from typing import NamedTuple


class Totals(NamedTuple):
    """What happened within a window."""

    successes: int
    failures: int


class Window:
    """Counts over the last `seconds`; not thread-safe by itself, pure in `now`.

    A `now` before the newest one seen is counted as the newest.

    Args:
        seconds: The window's length, above 0.
        buckets: How many equal parts it has, at least 1: more are more exact, and cost memory.
    """

    def __init__(self, seconds: float, buckets: int = 12) -> None:
        self._width = seconds / buckets
        self._successes = [0] * buckets
        self._failures = [0] * buckets
        self._totals = [0, 0]
        self._tick = 0

    def add(self, now: float, *, failed: bool) -> None:
        """Count one result at the monotonic instant `now`."""
        tick = int(now // self._width)
        if tick > self._tick:
            self._advance(tick)
        counts = self._failures if failed else self._successes
        counts[self._tick % len(counts)] += 1
        self._totals[failed] += 1

    def totals(self, now: float) -> Totals:
        """The successes and failures that are in the window at `now`."""
        tick = int(now // self._width)
        if tick > self._tick:
            self._advance(tick)
        return Totals(*self._totals)

    def clear(self) -> None:
        """Forget everything counted so far."""
        buckets = len(self._successes)
        self._successes = [0] * buckets
        self._failures = [0] * buckets
        self._totals = [0, 0]

    def _advance(self, tick: int) -> None:
        """Drop the buckets that have left the window when bucket number `tick` begins."""
        buckets = len(self._successes)
        for passed in range(max(self._tick + 1, tick - buckets + 1), tick + 1):
            place = passed % buckets
            self._totals[0] -= self._successes[place]
            self._totals[1] -= self._failures[place]
            self._successes[place] = self._failures[place] = 0
        self._tick = tick
