"""A limit that a fleet shares: a sliding window in slots, as it also stands in the Lua script.

What is taken in a slot counts until the window has passed since the slot began. The window is two slots longer than the
limit's own: one for the length of the slot, one for the time in which a portion may be used. So what is used within any
span of the limit's own length was taken within one window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .buckets import NEGLIGIBLE

if TYPE_CHECKING:
    from collections.abc import Iterable

SLOTS: Final = 120
WINDOW: Final = SLOTS + 2


class FleetWindow:
    """What was taken of one limit, by slots. `now` is in seconds of one clock; its owner locks.

    Args:
        allowance: How much may be taken within a window.
        slot: Seconds.
    """

    def __init__(self, allowance: float, slot: float) -> None:
        self.allowance = allowance
        self.slot = slot
        self.slots: dict[int, float] = {}

    def used(self, now: float) -> float:
        """What counts now."""
        self.slots = {slot: amount for slot, amount in self.slots.items() if now < self._ends(slot)}
        return sum(self.slots.values())

    def used_since(self, at: float, now: float) -> float:
        """What counts now and was taken since then."""
        self.used(now)
        return sum(amount for slot, amount in self.slots.items() if (slot + 1) * self.slot > at)

    def put_back(self, unused: Iterable[tuple[float, float]], now: float) -> None:
        """Give back amounts, each taken so many seconds ago: from the slot of then, or the two before it."""
        for amount, age in unused:
            left, slot = amount, int((now - age) // self.slot)
            for place in (slot, slot - 1, slot - 2):
                cut = min(left, self.slots.get(place, 0.0))
                if cut > 0:
                    self.slots[place] -= cut
                    left -= cut

    def wait(self, need: float, now: float) -> float:
        """Seconds until so much may be taken; 0: now."""
        missing = self.used(now) + need - self.allowance
        if missing <= NEGLIGIBLE:
            return 0.0
        seconds = 0.0
        for slot in sorted(self.slots):
            seconds = self._ends(slot) - now
            missing -= self.slots[slot]
            if missing <= NEGLIGIBLE:
                break
        return seconds

    def take(self, need: float, more: float, now: float) -> float:
        """Take what is needed, and as much more as there is; gives how much."""
        given = need + max(0.0, min(more, self.allowance - self.used(now) - need))
        slot = int(now // self.slot)
        self.slots[slot] = self.slots.get(slot, 0.0) + given
        return given

    def _ends(self, slot: int) -> float:
        return (slot + WINDOW) * self.slot
