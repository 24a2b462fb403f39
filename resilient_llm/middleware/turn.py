"""How a call waits for its turn at a rate limit.

The rules of this file:

- In the line, only the first asks the limit; it takes what it needs and leaves in the same step, so that a call which
  is cancelled holds nothing.
- A cool-down is waited for in the line if the pace after it is known: the first sleeps a little longer by chance.
- Else it is not: each call sleeps by itself, for a little longer than the others by chance.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from resilient_llm.errors import LimitExceededError
from resilient_llm.events import Waiting
from resilient_llm.policy.cooldown import sleep_for
from resilient_llm.policy.rate_limit import Held, Ticket

if TYPE_CHECKING:
    from resilient_llm.clock import Clock
    from resilient_llm.models import Request
    from resilient_llm.policy.backoff import Uniform
    from resilient_llm.policy.buckets import Amounts

    from .gates import Gate


Obtain: TypeAlias = Callable[[], Awaitable[None]]

_OTHERS = "the calls before it"
_COOL_DOWN = "the cool-down after a rate limit"


class Turn:
    """One call's way through a gate.

    Args:
        gate: The gate.
        request: The call.
        amounts: What it takes.
        clock: Time.
        uniform: Where the spread of the wake-ups comes from.
        patience: Seconds; a longer cool-down is not waited for.
        obtain: Gets what the call needs from a fleet that shares the limit, as far as it is there.
    """

    __slots__ = (
        "_amounts",
        "_by",
        "_clock",
        "_deadline",
        "_gate",
        "_obtain",
        "_patience",
        "_request",
        "_told",
        "_uniform",
    )

    def __init__(
        self,
        gate: Gate,
        request: Request,
        amounts: Amounts,
        *,
        clock: Clock,
        uniform: Uniform,
        patience: float,
        obtain: Obtain | None = None,
    ) -> None:
        self._gate = gate
        self._request = request
        self._amounts = amounts
        self._clock = clock
        self._uniform = uniform
        self._patience = patience
        self._obtain = obtain
        self._told = False
        self._deadline = math.inf if request.deadline is None else request.deadline
        self._by = min(self._deadline, clock.monotonic() + request.extensions.get("max_wait", math.inf))

    async def come(self) -> Ticket:
        """Wait for it, and take what the call needs.

        Raises:
            LimitExceededError: It would not come in time.
        """
        while (ticket := await self._queue()) is None:
            await self._cool_down()
        return ticket

    async def _queue(self) -> Ticket | None:
        """The ticket; or None, if there is a cool-down."""
        pace, now = self._gate.pace, self._clock.monotonic
        with self._gate.line.join() as place:
            held = pace.queue(self._amounts, now())
            try:
                self._mind(held)
                while held is None or not held.cooling:
                    seconds, left = math.inf, self._cooling()
                    if place.first:
                        if self._obtain is not None:
                            await self._obtain()
                        entered = pace.enter(self._amounts, now())
                        if isinstance(entered, Ticket):
                            return entered
                        held, seconds = entered, entered.seconds
                        if held.cooling:
                            break
                        self._mind(held)
                        if left:
                            seconds = max(seconds, sleep_for(left, self._uniform))
                    await place.wait(self._bounded(seconds))
            finally:
                pace.unqueue(self._amounts)
        return None

    async def _cool_down(self) -> None:
        left = self._cooling()
        seconds = sleep_for(left, self._uniform)
        if self._clock.monotonic() + seconds >= self._deadline:
            raise self._error(_COOL_DOWN, left)
        self._tell(_COOL_DOWN, seconds)
        await self._clock.sleep(seconds)

    def _cooling(self) -> float:
        """What is left of the cool-down, if the call may wait for so long."""
        now = self._clock.monotonic()
        left = self._gate.pace.cooling(now)
        if left and (left > self._patience or now + left > self._by):
            raise self._error(_COOL_DOWN, left)
        return left

    def _mind(self, held: Held | None) -> None:
        """Reject the call if the wait would be too long, else tell of it."""
        if held is None or held.cooling:
            return
        if self._clock.monotonic() + held.seconds >= self._by:
            raise self._error(held.why, held.seconds)
        self._tell(held.why, held.seconds)

    def _tell(self, why: str, seconds: float) -> None:
        if self._told:  # once is enough
            return
        self._told = True
        error = LimitExceededError(
            f"{why} holds the call back", retry_after=seconds, model=self._request.model or None
        )
        self._request.tell(Waiting(seconds, error, self._request.attempt))

    def _bounded(self, seconds: float) -> float | None:
        """How long to wait at a stretch."""
        left = self._by - self._clock.monotonic()
        if left <= 0:
            raise self._error(_OTHERS)
        least = min(seconds, left)
        return None if least == math.inf else least

    def _error(self, why: str, seconds: float | None = None) -> LimitExceededError:
        return LimitExceededError(
            f"{why} would hold the call back for longer than it may wait",
            retry_after=seconds,
            model=self._request.model or None,
        )
