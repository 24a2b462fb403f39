"""The bucket of a limit that a fleet shares: what is leased of it, and this process's part of it without the fleet."""

from __future__ import annotations

import math
from typing import Final

import attrs

from .buckets import MINUTE, NEGLIGIBLE, SOON, Bucket, Count
from .fleet import Wanted
from .fleet_window import SLOTS, FleetWindow

MOST_UNUSED: Final = 100
"""How many amounts are kept to be given back."""

LOOK_AGAIN: Final = 1.0
"""Seconds after which the fleet is asked again at the latest: others may have given back."""


@attrs.define(eq=False)
class Leased(Bucket):
    """While the fleet is in reach, what was leased counts; alone, a window of one's own with one's part of the limit.

    A portion may be used for the length of a slot. Where portions are used up before they lapse, the next one
    is twice as large, up to a 120th of the limit; what lapses makes it smaller. What was used alone is charged when
    the fleet is back. Where the fleet had nothing left when it was last asked, nobody goes before there is some.

    Args:
        slot: Seconds; a 120th of the window.
    """

    slot: float
    alone: bool = False
    _own: FleetWindow = attrs.field(init=False)
    _have: float = 0.0
    _since: float = -math.inf
    _again: float = -math.inf
    _full_until: float = -math.inf
    _left_at: float = -math.inf
    _portion: float = 0.0
    _unused: list[tuple[float, float]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        """Its own window is empty."""
        self._own = FleetWindow(self.capacity, self.slot)

    def wait(self, amount: float, ahead: float, now: float) -> float:
        """Seconds until there is enough, or until it is time to ask again."""
        if self.alone:
            own = self._own.wait(ahead + min(amount, self._own.allowance), now)
            return max(own, self._full_until - now)
        self._lapse(now)
        missing = ahead + min(amount, self.capacity) - self._have
        return 0.0 if missing <= NEGLIGIBLE else max(SOON, self._again - now)

    def is_full(self, now: float) -> bool:
        """Would a new one know as much?"""
        return not self._own.used(now)

    def take(self, amount: float, now: float) -> None:
        """Take it; what is not there is asked for the next time."""
        self._own.take(amount, 0.0, now)
        if not self.alone:
            self._lapse(now)
            self._have -= amount

    def give(self, amount: float, at: float, now: float) -> None:
        """It was not used."""
        if amount > 0:
            self._own.put_back(((amount, now - at),), now)
            self._keep(amount, at)
            self._again = -math.inf

    def reach(self, peers: int, now: float, *, alone: bool) -> None:
        """Go by the fleet, or alone by the part of the limit that `peers` leave."""
        self._own.allowance = max(1.0, self.capacity / peers)
        if alone and not self.alone:
            self._left_at = now
        elif self.alone and not alone:
            self._have = min(0.0, self._have) - self._own.used_since(self._left_at, now)
        self.alone = alone

    def wanted(self, amount: float, now: float) -> Wanted | None:
        """What must be leased before so much can be taken; None if it is there, or not the time to ask."""
        self._lapse(now)
        need = min(min(amount, self.capacity) - self._have, self.capacity)
        if self.alone or need <= NEGLIGIBLE or now < self._again:
            return None
        if now < self._since + self.slot:
            self._portion = min(self.capacity // SLOTS, max(1.0, 2 * self._portion))
        unused = tuple((some, now - at) for some, at in self._unused)
        self._unused.clear()
        return Wanted(self.name, self.capacity, self.slot, need, self._portion, unused)

    def given(self, amount: float, asked: float) -> None:
        """So much was leased; the question was asked at that instant."""
        if self._have <= 0:
            self._since = asked
        self._have += amount

    def refused(self, seconds: float, now: float) -> None:
        """Nothing was; there may be more after so many seconds."""
        self._again = now + min(seconds, LOOK_AGAIN)
        self._full_until = now + seconds

    def _lapse(self, now: float) -> None:
        if self._have > 0 and now >= self._since + self.slot:
            self._keep(self._have, self._since)
            self._portion = max(0.0, self._portion - self._have)
            self._have = 0.0

    def _keep(self, amount: float, at: float) -> None:
        if len(self._unused) < MOST_UNUSED:
            self._unused.append((amount, at))


def leased(name: str, counts: Count, per_minute: float, burst: float, now: float) -> Leased:
    """The bucket of a limit of one's own that is shared; see `buckets.allowance`."""
    capacity = max(1.0, per_minute * burst)
    slot = MINUTE * capacity / per_minute / SLOTS
    return Leased(f"{name}={per_minute:g}", counts, capacity, per_minute / MINUTE, capacity, now, slot)
