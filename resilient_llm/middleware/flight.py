"""Flights: calls under way that several callers wait for.

The rules of this file:

- The call runs in a task of its own, with the request and the context variables of one of its callers: the leader.
- Callers wait on futures of their own. Who is cancelled leaves; when the last one leaves, the task is cancelled.
- What the call gave, answer or error, is kept as it was; each caller takes a copy to do with as it likes.
- A flight belongs to one event loop. Nothing here awaits but the task itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import math
import threading
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import attrs

from resilient_llm.commit import whole
from resilient_llm.error_base import copy_error
from resilient_llm.errors import DeadlineExceededError, LLMError, ModelTimeoutError
from resilient_llm.events import ContentSeen, Event, Notice, Result, ToolCallDelta
from resilient_llm.models import Attempt, Embeddings

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from resilient_llm.clock import Clock
    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response


@attrs.frozen
class Landed:
    """The answer of a shared call."""

    response: Response
    events: Sequence[Event]

    def response_for(self, request: Request) -> Response:
        """A response of one's own, with the whole answer in it."""
        shared = self.response
        if shared.pruned is not None:
            request = attrs.evolve(request, messages=shared.request.messages)
        info = attrs.evolve(shared.info, extra=copy.deepcopy(shared.info.extra))
        response = whole([_own(event) for event in self.events], info, request)
        response.pruned = shared.pruned
        return response


Landing: TypeAlias = Landed | Exception
"""What a shared call gave."""


def _own(event: Event) -> Event:
    """Events cannot be changed, but results can: vectors are lists."""
    if not isinstance(event, Result):
        return event
    value = event.value
    if isinstance(value, Embeddings):
        return Result(attrs.evolve(value, vectors=[list(vector) for vector in value.vectors]))
    return Result(copy.deepcopy(value))


def fail(error: Exception, request: Request) -> NoReturn:
    """Raise a copy of the shared call's error."""
    raise _own_error(error, request)


def _own_error(error: Exception, request: Request) -> Exception:
    twin = copy_error(error)
    if isinstance(twin, LLMError) and twin.partial is not None:
        twin.partial = attrs.evolve(twin.partial, sent=request.messages)
    return twin


@attrs.frozen(eq=False)
class Caller:
    """One who waits. `ended` is told what the call gave."""

    request: Request
    ended: asyncio.Future[Landing] = attrs.field(
        factory=lambda: asyncio.get_running_loop().create_future(), init=False
    )
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context, init=False)

    @property
    def due(self) -> float:
        """Its deadline."""
        deadline = self.request.deadline
        return math.inf if deadline is None else deadline


@attrs.define(eq=False)
class Table:
    """The flights of one event loop: those that can be joined, and the tasks of those that were left by all."""

    loop: asyncio.AbstractEventLoop | None = None
    flights: dict[Hashable, Flight] = attrs.field(factory=dict)
    left: set[asyncio.Task[Landed]] = attrs.field(factory=set)


class Tables(threading.local):
    """The table of the loop that runs in this thread."""

    table = Table()

    def here(self) -> Table:
        """The running loop's table."""
        loop = asyncio.get_running_loop()
        if self.table.loop is not loop:
            self.table = Table(loop)
        return self.table


class Flight:
    """One call under way.

    Args:
        table: Where it can be found until it is over.
        key: Under which key.
        handler: What is called.
        clock: Time.
    """

    def __init__(self, table: Table, key: Hashable, handler: Handler, clock: Clock) -> None:
        self._table = table
        self._key = key
        self._handler = handler
        self._clock = clock
        self._callers: dict[Caller, None] = {}
        self._attempts: list[Attempt] = []
        table.flights[key] = self

    def join(self, caller: Caller) -> None:
        """Wait, too. The first one leads."""
        for attempt in self._attempts:
            caller.request.tell(attrs.evolve(attempt, shared=True))
        first = not self._callers
        self._callers[caller] = None
        if first:
            self._lead(caller)

    def leave(self, caller: Caller) -> None:
        """Do not wait any more; nothing happens if the call has ended."""
        if caller not in self._callers:
            return
        del self._callers[caller]
        if not self._callers:
            self._forget()
            self._table.left.add(self._task)
            self._task.add_done_callback(self._table.left.discard)
            self._task.cancel()

    def _lead(self, caller: Caller) -> None:
        self._leader = caller
        call = self._call(caller.request)
        self._task = asyncio.get_running_loop().create_task(call, context=caller.context)
        self._task.add_done_callback(self._landed)

    async def _call(self, request: Request) -> Landed:
        async with await self._handler(attrs.evolve(request, observers=(self._tell,))) as response:
            events = [event async for event in response if not isinstance(event, ToolCallDelta)]
        return Landed(response, events)

    def _tell(self, notice: Notice) -> None:
        if isinstance(notice, ContentSeen):
            return  # each caller's own response tells it
        shared = notice
        if isinstance(notice, Attempt):
            self._attempts.append(notice)
            shared = attrs.evolve(notice, shared=True)
        for caller in tuple(self._callers):
            caller.request.tell(notice if caller is self._leader else shared)

    def _landed(self, task: asyncio.Task[Landed]) -> None:
        """Tell the callers; unless it was the leader's time that is over, and some have more of it."""
        error = None if task.cancelled() else task.exception()
        heirs = self._heirs(error)
        for caller in [caller for caller in self._callers if caller not in heirs]:
            del self._callers[caller]
            if caller.ended.done():
                continue
            if isinstance(error, Exception):
                caller.ended.set_result(error)
            elif task.cancelled() or error is not None:
                caller.ended.cancel()  # not by us: the loop is being shut down
            else:
                caller.ended.set_result(task.result())
        if heirs:
            self._lead(max(heirs, key=lambda caller: caller.due))
        else:
            self._forget()

    def _heirs(self, error: BaseException | None) -> list[Caller]:
        """Who calls again: those with more time than the leader, if it was the leader's that is over."""
        due, now = self._leader.due, self._clock.monotonic()
        late = isinstance(error, DeadlineExceededError) or (
            isinstance(error, ModelTimeoutError) and now >= due
        )
        return [caller for caller in self._callers if caller.due > max(due, now)] if late else []

    def _forget(self) -> None:
        if self._table.flights.get(self._key) is self:
            del self._table.flights[self._key]
