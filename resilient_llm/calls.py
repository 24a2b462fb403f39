"""The calls that a client makes: streams before they are sent, and what is running when the client is closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from weakref import ref

import attrs

from .errors import ModelResponseInvalidError

if TYPE_CHECKING:
    from types import TracebackType

    from .models import Request
    from .outcome import Outcome
    from .pipeline import Handler
    from .response import Response


@attrs.define
class Calls:
    """Knows the tasks that wait for a response, and the responses that are being read; it keeps no response alive."""

    _opening: set[asyncio.Task[Any]] = attrs.field(factory=set)
    _open: dict[int, tuple[ref[Response], asyncio.Task[Any]]] = attrs.field(factory=dict)
    _idle: asyncio.Event | None = None

    async def run(self, handler: Handler, request: Request) -> Response:
        """Send a request, unless the client is closing.

        Raises:
            RuntimeError: The client is closed.
        """
        if self._idle is not None:
            msg = "the client is closed: make a new one"
            raise RuntimeError(msg)
        task = asyncio.current_task()
        if task is None:
            msg = "a call must run in an asyncio task"
            raise RuntimeError(msg)
        inside = task in self._opening  # of a call whose stage makes another one, such as a summary
        self._opening.add(task)
        try:
            response = await handler(request)
            if response.outcome is None:
                self._open[id(response)] = ref(response), task
                response.on_settle(self._forget, id(response))
        finally:
            if not inside:
                self._opening.discard(task)
            if self._idle is not None:
                self._rest()
        return response

    async def drain(self, grace: float) -> None:
        """Refuse new calls, wait up to `grace` seconds for the running ones, then end them."""
        self._idle = self._idle or asyncio.Event()
        current = asyncio.current_task()
        for response, owner in self._unsettled():
            if owner is current or owner.done():
                response.close(closed_early())  # nobody is left who could read it to its end
        self._opening.discard(current)
        self._rest()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            pass
        finally:
            for task in self._opening:
                task.cancel()
            for response, _ in self._unsettled():
                response.close(closed_early())

    def _unsettled(self) -> list[tuple[Response, asyncio.Task[Any]]]:
        """The responses that are open, each with the task that asked for it."""
        known = tuple(self._open.values())
        return [(response, owner) for there, owner in known if (response := there()) is not None]

    def _forget(self, key: int, _: Outcome) -> None:
        self._open.pop(key, None)
        self._rest()

    def _rest(self) -> None:
        if self._idle is not None and not self._opening and not self._open:
            self._idle.set()


def closed_early() -> ModelResponseInvalidError:
    """What readers are told, to whom an answer that just ends would look like a whole one."""
    msg = "the client was closed before the answer's end"
    return ModelResponseInvalidError(msg, retryable=False, backend_fault=False)


@attrs.frozen
class Streaming:
    """A streamed call, not begun yet: enter it to send it."""

    _send: Handler
    _request: Request
    _opened: list[Response] = attrs.field(factory=list, init=False, repr=False)

    async def __aenter__(self) -> Response:
        """Send the request; returns at the first content."""
        response = await self._send(self._request)
        self._opened.append(response)
        return response

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the response: what was not read is abandoned."""
        self._opened.pop().close()
