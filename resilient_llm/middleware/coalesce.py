"""Coalesce: callers who ask the same at the same time share one call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import attrs

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.errors import DeadlineExceededError
from resilient_llm.policy.request_key import call_key
from resilient_llm.timeout import Timeout

from .flight import Caller, Flight, Landing, Tables, fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response

GRACE: Final = 0.1
"""Seconds after its deadline that a caller waits for the shared call to end by itself."""


def _always(_request: Request) -> bool:
    return True


@attrs.define(kw_only=True, eq=False)
class Coalesce:
    """Let identical whole calls that are under way at the same time share one.

    Identical are chats and embeddings with the same model, messages, parameters, headers and options; whoever wants
    several answers to one prompt does not want this stage. Streams pass untouched. Each caller keeps its own deadline
    and may be cancelled by itself; the shared call ends when nobody waits for it any more. If it fails because the
    leader's deadline is over, those who have more time left call again, together.

    Every caller gets an answer, or an error, of its own, and the trace of the shared call: attempts that were made for
    another caller are marked `shared`. Belongs after `Deadline`, `Fallback` and `Cache`, before `TokenBudget` and
    `Retry`. May be used in several stacks and on several event loops: what is shared is shared within one of them.

    Args:
        when: Which requests it is for. Default: all.
        clock: Time.
    """

    role = "coalesce"

    when: Callable[[Request], bool] = attrs.field(default=_always, validator=attrs.validators.is_callable())
    clock: Clock = attrs.field(default=SYSTEM_CLOCK, repr=False)
    _tables: Tables = attrs.field(factory=Tables, init=False, repr=False)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Join a call that is under way, or begin one."""
        if request.stream or not self.when(request) or (key := call_key(request)) is None:
            return await call_next(request)
        table, place = self._tables.here(), (key, id(call_next))
        flight = table.flights.get(place) or Flight(table, place, call_next, self.clock)
        caller = Caller(request)
        flight.join(caller)
        try:
            ended = await self._wait(caller)
        finally:
            flight.leave(caller)
        if isinstance(ended, Exception):
            fail(ended, request)
        return ended.response_for(request)

    async def aclose(self) -> None:
        """Wait for the end of shared calls that nobody waits for any more."""
        await self.clock.sleep(0)  # callers who were cancelled just now leave first
        if left := self._tables.here().left:
            await asyncio.wait(left)

    async def _wait(self, caller: Caller) -> Landing:
        deadline = caller.request.deadline
        if deadline is None:
            return await caller.ended
        scope = Timeout(max(0.0, deadline - self.clock.monotonic()) + GRACE)
        try:
            with scope:
                return await caller.ended
        except TimeoutError as exc:
            msg = "the deadline passed while an equal call was under way"
            raise DeadlineExceededError(msg, model=caller.request.model or None) from exc
