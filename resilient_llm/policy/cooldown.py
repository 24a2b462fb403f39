"""The shared cool-down: what one call was refused with holds back all that share its limit.

The rules of this file:

- A cool-down ends with time alone. A refusal may prolong it, nothing shortens it.
- Refusals that come while it lasts are those of calls that were in flight: the same event. They prolong it if they
  ask for more, and do not count.
- Each cool-down begins a generation; a call belongs to the one in which it was sent. The success of an older one
  says nothing.
- A backend that does not say how long is left alone for twice as long each time, until a call of the newest
  generation succeeds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST: Final = 0.5
"""Seconds of the first cool-down, where the backend does not say how long."""

LONGEST_GUESS: Final = 30.0

SPREAD: Final = 0.3
"""Seconds over which the wake-ups are drawn at least: a hundred draws then span a quarter of a second."""

_ENOUGH: Final = 10
"""So often doubled, any guess is the longest; and no power of two becomes too large for a float."""


def sleep_for(left: float, uniform: Callable[[float, float], float]) -> float:
    """How long one of those who are held back sleeps: never less than is left, and not as long as the others."""
    return left + uniform(0.0, max(SPREAD, 0.1 * left))


class Cooldown:
    """Calls are held back until an instant. Pure in `now` (monotonic seconds); its owner locks.

    Args:
        longest: Seconds; no cool-down is longer, whatever the backend asks for.

    Attributes:
        generation: How many cool-downs have begun; to be handed back with a call's result.
    """

    __slots__ = ("_longest", "_run", "_until", "generation")

    def __init__(self, longest: float) -> None:
        self.generation = 0
        self._longest = longest
        self._until = -math.inf
        self._run = 0

    def left(self, now: float) -> float:
        """Seconds for which calls are still held back."""
        return max(0.0, self._until - now)

    def refused(self, asked: float | None, now: float) -> bool:
        """A call was refused; the backend asked for so many seconds, or did not say. Does that begin a cool-down?"""
        begins = now >= self._until
        self.generation += begins
        if asked:
            self._hold(asked, now)
        elif begins:
            self._hold(min(LONGEST_GUESS, FIRST * 2**self._run), now)
            self._run = min(self._run + 1, _ENOUGH)
        return begins

    def succeeded(self, generation: int) -> None:
        """A call of that generation was answered."""
        if generation == self.generation:
            self._run = 0

    def _hold(self, seconds: float, now: float) -> None:
        self._until = max(self._until, now + min(seconds, self._longest))
