"""Faults that tell the test how far they are."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import attrs

from resilient_llm.testing import Answer

PATIENCE = 10.0
"""Seconds after which a test that waits has failed."""


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
