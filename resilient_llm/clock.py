"""Time, injected: the only module that touches the machine's clocks."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the stages know of time. Tests give them a virtual one (`resilient_llm.testing.FakeClock`)."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary instant; never goes back. Deadlines and leases are in this time."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, as the machine believes; only for reading dates that a server sent."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Suspend the current task."""
        ...


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
    sleep = staticmethod(asyncio.sleep)


SYSTEM_CLOCK: Clock = SystemClock()
"""The default of every `clock=`."""
