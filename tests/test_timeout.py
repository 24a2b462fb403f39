"""Time limits: what asyncio.timeout does, and one timer for many stretches."""

from __future__ import annotations

import asyncio

import pytest

from resilient_llm.testing import run_virtual
from resilient_llm.timeout import Timeout, Watch


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_block_that_takes_too_long_is_a_timeout() -> None:
    """The await is cancelled at the limit, and the cancellation becomes TimeoutError."""

    async def scenario() -> None:
        with pytest.raises(TimeoutError), Timeout(2.0) as scope:
            await asyncio.sleep(3.0)
        assert (now(), scope.expired) == (2.0, True)
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(1.0)

    run_virtual(scenario())


def test_a_block_in_time_leaves_nothing_behind() -> None:
    """The timer is given up with the block: nothing strikes later."""

    async def scenario() -> None:
        with Timeout(2.0) as scope:
            await asyncio.sleep(1.0)
        await asyncio.sleep(10.0)
        assert not scope.expired

    run_virtual(scenario())


def test_a_cancellation_from_outside_stays_one() -> None:
    """Only the limit's own cancellation is translated, even if both strike at once."""

    async def block() -> None:
        with Timeout(2.0):
            await asyncio.sleep(3.0)

    async def scenario() -> None:
        for seconds in (1.0, 2.0):
            task = asyncio.ensure_future(block())
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(seconds, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task

    run_virtual(scenario())


def test_nested_limits_strike_by_themselves() -> None:
    """The inner one ends the inner block, the outer one the outer."""

    async def scenario() -> None:
        with pytest.raises(TimeoutError), Timeout(5.0) as outer:  # noqa: PT012 - the block is the point
            with pytest.raises(TimeoutError), Timeout(1.0) as inner:
                await asyncio.sleep(9.0)
            assert (inner.expired, outer.expired, now()) == (True, False, 1.0)
            await asyncio.sleep(9.0)
        assert (outer.expired, now()) == (True, 5.0)

    run_virtual(scenario())


def test_the_blocks_own_errors_pass() -> None:
    """What the block raises is not touched, a TimeoutError of its own included."""

    async def scenario() -> None:
        for error in (KeyError("a"), TimeoutError("b")):
            with pytest.raises(type(error)) as caught, Timeout(5.0):
                raise error
            assert caught.value is error

    run_virtual(scenario())


def test_an_error_while_being_cancelled_by_the_limit_is_raised() -> None:
    """If clean-up fails, the failure is seen, and the task is not left cancelled."""

    async def scenario() -> None:
        with pytest.raises(KeyError), Timeout(1.0):  # noqa: PT012 - the block is the point
            try:
                await asyncio.sleep(9.0)
            finally:
                raise KeyError
        assert asyncio.current_task().cancelling() == 0

    run_virtual(scenario())


def test_a_limit_of_nothing_strikes_at_the_first_suspension() -> None:
    """Zero seconds let pass what does not suspend."""

    async def scenario() -> None:
        with Timeout(0.0):
            pass
        with pytest.raises(TimeoutError), Timeout(0.0):
            await asyncio.sleep(1.0)

    run_virtual(scenario())


def test_a_limit_can_be_moved() -> None:
    """`restart` allows more, less, or any time from now."""

    async def scenario() -> None:
        with pytest.raises(TimeoutError), Timeout(10.0) as scope:  # noqa: PT012 - the block is the point
            await asyncio.sleep(4.0)
            scope.restart(10.0)
            await asyncio.sleep(9.0)
            scope.restart(None)
            await asyncio.sleep(100.0)
            scope.restart(1.0)
            await asyncio.sleep(9.0)
        assert now() == 114.0

    run_virtual(scenario())


def test_one_timer_watches_many_stretches() -> None:
    """Each stretch has its own limit; the time between them does not count."""

    async def scenario() -> None:
        watch = Watch()
        for _ in range(5):
            watch.begin(2.0)
            await asyncio.sleep(1.5)
            assert watch.end(None) is False
            await asyncio.sleep(5.0)
        start = now()
        watch.begin(2.0)
        with pytest.raises(asyncio.CancelledError) as caught:
            await asyncio.sleep(9.0)
        assert watch.end(caught.value) is True
        assert now() - start == 2.0

    run_virtual(scenario())


def test_a_shorter_stretch_brings_the_alarm_forward() -> None:
    """A limit that ends before the alarm would ring strikes in time."""

    async def scenario() -> None:
        watch = Watch()
        watch.begin(100.0)
        watch.end(None)
        watch.begin(1.0)
        with pytest.raises(asyncio.CancelledError) as caught:
            await asyncio.sleep(9.0)
        assert watch.end(caught.value)
        assert now() == 1.0

    run_virtual(scenario())


def test_a_watch_serves_the_task_that_reads() -> None:
    """A response handed to another task is limited there."""

    async def scenario() -> None:
        watch = Watch()
        watch.begin(5.0)
        watch.end(None)

        async def other() -> bool:
            watch.begin(1.0)
            try:
                await asyncio.sleep(9.0)
            except asyncio.CancelledError as exc:
                return watch.end(exc)
            return False

        assert await asyncio.ensure_future(other())

    run_virtual(scenario())


def test_all_limits_of_a_loop_share_one_timer() -> None:
    """A thousand calls at once, each with two limits, set no more than a few timers, and each strikes in time."""

    async def call(seconds: float, limit: float) -> float | None:
        with Timeout(1000.0):
            try:
                with Timeout(limit):
                    await asyncio.sleep(seconds)
            except TimeoutError:
                return now()
        return None

    async def scenario() -> None:
        calls = [asyncio.ensure_future(call(5.0 + i % 3, 4.5 + i % 5)) for i in range(1000)]
        await asyncio.sleep(1.0)
        sleeping = 1000
        assert len(asyncio.get_running_loop()._scheduled) <= sleeping + 10
        struck = await asyncio.gather(*calls)
        assert struck == [4.5 + i % 5 if 4.5 + i % 5 < 5 + i % 3 else None for i in range(1000)]

    run_virtual(scenario())
