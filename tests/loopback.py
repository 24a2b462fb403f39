"""A fault server in a thread of its own, for tests that block; and faults that tell the test how far they are."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import attrs

from resilient_llm.testing import Answer, FaultServer

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10.0
"""Seconds after which a test that waits has failed."""


@contextlib.contextmanager
def serving(*faults: Any) -> Iterator[FaultServer]:
    """A server on another thread's loop; on leaving, what a fault raised is raised here."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = FaultServer(faults or None)

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    try:
        run(server.__aenter__())
        try:
            yield server
        finally:
            run(server.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


@attrs.define
class Watched:
    """Plays a fault, and tells when it met a request and when it was over, because the client left or otherwise."""

    fault: Any
    begun: threading.Event = attrs.field(factory=threading.Event)
    over: threading.Event = attrs.field(factory=threading.Event)
    answers = True

    async def play(self, exchange: Any) -> None:
        self.begun.set()
        try:
            await self.fault.play(exchange)
        finally:
            self.over.set()


@attrs.define
class Together:
    """Answers so many requests when all of them have come, and none before."""

    number: int
    barrier: asyncio.Barrier = attrs.field(init=False)
    answers = True

    def __attrs_post_init__(self) -> None:
        self.barrier = asyncio.Barrier(self.number)

    async def play(self, exchange: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.barrier.wait()
        await Answer().play(exchange)
