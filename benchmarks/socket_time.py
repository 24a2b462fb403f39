"""Virtual time with real sockets: time stands still while anybody works, and jumps when all have to wait.

Clients and servers share one event loop. What is sent over the loopback interface has arrived when the sending is done,
so if no socket is ready nothing is under way, and time can jump to the next timer. Neither the speed of the machine nor
what else runs on it decides a figure, minutes pass in seconds, and every client keeps the waits and limits that it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import select
import selectors
import types
from collections.abc import Coroutine, Iterator
from typing import Any, Self, TypeVar
from unittest import mock

from resilient_llm.testing import VirtualTimeLoop

GRACE = 0.0001
"""Real seconds for which a socket may keep everybody waiting before time jumps."""

STALLED = 5.0

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    loop: SocketTimeLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.loop.threads:
            ready = super().select(STALLED)
            if not ready and timeout is None:
                msg = "nothing is scheduled and no socket is ready"
                raise RuntimeError(msg)
            return ready
        ready = self._soon()
        if not ready:
            self.loop.skip(timeout)
        return ready

    def _soon(self) -> Any:
        """What is ready within the grace: epoll itself counts in whole milliseconds, `select` does not."""
        if hasattr(self, "fileno"):
            select.select([self.fileno()], [], [], GRACE)
            return super().select(0)
        return super().select(GRACE)


class SocketTimeLoop(VirtualTimeLoop):
    """See the module."""

    def __init__(self) -> None:
        self.threads = 0
        self._virtual = 0.0
        selector = _Selector()
        selector.loop = self
        asyncio.SelectorEventLoop.__init__(self, selector)


class LoopDate(dt.datetime):
    """Says that it is as late as in the loop."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Self:
        return cls(2030, 1, 1, tzinfo=tz) + dt.timedelta(seconds=asyncio.get_running_loop().time())

    utcnow = now


@contextlib.contextmanager
def _clocks() -> Iterator[None]:
    """Modules of others that ask the machine for the time are told the loop's."""
    import aiobreaker.circuitbreaker
    import aiobreaker.state
    import backoff._async

    date = types.SimpleNamespace(datetime=LoopDate)
    with (
        mock.patch.object(aiobreaker.circuitbreaker, "datetime", LoopDate),
        mock.patch.object(aiobreaker.state, "datetime", LoopDate),
        mock.patch.object(backoff._async, "datetime", date),  # noqa: SLF001 - where its clock is
    ):
        yield


def run_with_sockets(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in virtual time."""
    with _clocks(), asyncio.Runner(loop_factory=SocketTimeLoop) as runner:
        return runner.run(main)
