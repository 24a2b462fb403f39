"""ConcurrencyLimit: so many calls on the wire at once, the others in a line."""

from __future__ import annotations

import math
import os
from collections import deque
from typing import TYPE_CHECKING

import attrs

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.errors import LimitExceededError
from resilient_llm.line import Line
from resilient_llm.validators import count, positive

if TYPE_CHECKING:
    from resilient_llm.models import Request
    from resilient_llm.outcome import Outcome
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response


class _Permits:
    """So many permits of one process; taking and giving back are atomic without a lock, in any thread."""

    __slots__ = ("_free", "process")

    def __init__(self, number: int) -> None:
        self.process = os.getpid()
        self._free = deque([None] * number)

    def take(self) -> bool:
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def give_back(self) -> None:
        self._free.append(None)


@attrs.define(eq=False)
class ConcurrencyLimit:
    """Let so many calls be on the wire at once; the others wait in order of arrival.

    A call holds its permit until its response has settled: a stream until it is read to its end, or closed. Whoever
    keeps a stream open while it makes another call holds two.

    Thread-safe: one object may serve clients on several event loops, which share its permits. Belongs inside
    `RateLimit` and outside the breaker; behind it, `RateLimit.recheck` keeps calls that have waited from running into
    a cool-down.

    Args:
        limit: How many calls, at least 1.
        max_queue: How many may wait; more are rejected at once.
        clock: Time.

    Raises:
        LimitExceededError: Nothing was sent: the queue is full, or the deadline (or the call's `max_wait`) came first.
    """

    role = "concurrency"

    limit: int = attrs.field(validator=[count, positive])
    max_queue: int = attrs.field(default=1000, validator=count, kw_only=True)
    clock: Clock = attrs.field(default=SYSTEM_CLOCK, kw_only=True, repr=False)
    _permits: _Permits = attrs.field(init=False, repr=False)
    _line: Line = attrs.field(factory=Line, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """All permits are free."""
        self._permits = _Permits(self.limit)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Take a permit, call, and give it back when the response has settled."""
        permits = self._permits
        if permits.process != os.getpid():  # a fork: the calls that hold the others are the parent's
            permits = self._permits = _Permits(self.limit)
        if len(self._line) or not permits.take():
            await self._queue(request, permits)
        try:
            response = await call_next(request)
        except BaseException:
            self._give_back(permits)
            raise
        response.on_settle(self._give_back, permits)
        return response

    async def _queue(self, request: Request, permits: _Permits) -> None:
        if len(self._line) >= self.max_queue:
            raise self._error(request, f"{self.limit} calls are running and {self.max_queue} are waiting")
        now = self.clock.monotonic
        deadline = math.inf if request.deadline is None else request.deadline
        by = min(deadline, now() + request.extensions.get("max_wait", math.inf))
        with self._line.join() as place:
            while not (place.first and permits.take()):
                left = by - now()
                if left <= 0:
                    raise self._error(request, f"none of the {self.limit} running calls ended in time")
                await place.wait(None if left == math.inf else left)

    def _give_back(self, permits: _Permits, _: Outcome | None = None) -> None:
        permits.give_back()
        if len(self._line):
            self._line.wake()

    @staticmethod
    def _error(request: Request, message: str) -> LimitExceededError:
        return LimitExceededError(message, model=request.model or None)
