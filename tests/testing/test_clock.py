"""Virtual time."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from resilient_llm.testing import FakeClock, run_virtual


def test_hours_pass_in_an_instant() -> None:
    """Sleeping advances the loop's time and the clock's, not the machine's."""

    async def scenario() -> tuple[float, float]:
        clock = FakeClock(epoch=1000.0)
        await clock.sleep(7200.0)
        return clock.monotonic(), clock.time()

    begun = time.monotonic()
    assert run_virtual(scenario()) == (7200.0, 8200.0)
    assert time.monotonic() - begun < 5.0


def test_timers_ring_in_order() -> None:
    """Concurrent sleepers wake in the order of their times, each at its own."""

    async def scenario() -> list[float]:
        rung: list[float] = []

        async def sleeper(seconds: float) -> None:
            await asyncio.sleep(seconds)
            rung.append(asyncio.get_running_loop().time())

        await asyncio.gather(*map(sleeper, (3.0, 1.0, 2.0)))
        return rung

    assert run_virtual(scenario()) == [1.0, 2.0, 3.0]


def test_outside_a_virtual_loop_time_stands_still() -> None:
    """Pure code is tested by advancing the clock by hand."""
    clock = FakeClock()
    assert clock.monotonic() == 0.0
    clock.advance(5.0)
    assert clock.monotonic() == 5.0


def test_a_deadlock_is_named() -> None:
    """Tasks that wait for each other end the test instead of hanging it."""

    async def scenario() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="wait for each other"):
        run_virtual(scenario())


def test_another_thread_may_wake_the_loop() -> None:
    """A result that a thread brings is not taken for a deadlock."""

    async def scenario() -> str:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        threading.Timer(0.05, lambda: loop.call_soon_threadsafe(future.set_result, "woken")).start()
        return await future

    assert run_virtual(scenario()) == "woken"


def test_time_stands_still_while_a_thread_works() -> None:
    """A limit in virtual time does not strike because a thread takes a moment of real time."""

    async def scenario() -> float:
        async with asyncio.timeout(10):
            await asyncio.to_thread(time.sleep, 0.05)
        return asyncio.get_running_loop().time()

    assert run_virtual(scenario()) == 0.0
