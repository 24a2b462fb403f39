"""The waiting line: turns in order of arrival, whoever leaves, whatever becomes of their loops."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque

import pytest

from resilient_llm.line import Line
from resilient_llm.testing import VirtualTimeLoop, run_virtual

PATIENCE = 10.0


class Permits:
    """So many of them, behind a line, as a stage would have it."""

    def __init__(self, count: int) -> None:
        self.free = deque(range(count))
        self.line = Line()
        self.order: list[object] = []

    def take(self) -> bool:
        try:
            self.free.pop()
        except IndexError:
            return False
        return True

    async def hold(self, name: object, seconds: float) -> None:
        with self.line.join() as place:
            while not (place.first and self.take()):
                await place.wait()
        try:
            self.order.append(name)
            await asyncio.sleep(seconds)
        finally:
            self.free.append(0)
            self.line.wake()


def test_turns_come_in_order_of_arrival() -> None:
    """Two permits, ten tasks: they go in pairs, the first first."""

    async def scenario() -> float:
        permits = Permits(2)
        await asyncio.gather(*(permits.hold(number, 1.0) for number in range(10)))
        assert permits.order == list(range(10))
        assert len(permits.line) == 0
        return asyncio.get_running_loop().time()

    assert run_virtual(scenario()) == 5.0


@pytest.mark.parametrize("steps", range(8))
def test_who_is_cancelled_makes_room(steps: int) -> None:
    """Cancelled so many steps after its turn came, or before: the next one goes, and no permit is lost."""

    async def scenario() -> None:
        permits = Permits(1)
        first = asyncio.ensure_future(permits.hold("first", 1.0))
        second = asyncio.ensure_future(permits.hold("second", 1.0))
        third = asyncio.ensure_future(permits.hold("third", 1.0))
        await asyncio.sleep(0.5)
        first.cancel()
        for _ in range(steps):
            await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, second, third, return_exceptions=True)
        assert permits.order[-1] == "third"
        assert len(permits.free) == 1
        assert len(permits.line) == 0

    run_virtual(scenario())


def test_a_wait_ends_by_itself() -> None:
    """After its seconds, with nobody waking it; its place stays."""

    async def scenario() -> None:
        line = Line()
        with line.join() as place:
            await place.wait(2.5)
            assert asyncio.get_running_loop().time() == 2.5
            assert place.first
            assert len(line) == 1
        assert len(line) == 0

    run_virtual(scenario())


def test_a_waking_is_not_missed() -> None:
    """Who is woken between two waits does not wait again."""

    async def scenario() -> None:
        line = Line()
        with line.join() as place:
            line.wake()
            await place.wait()
            line.wake_all()
            await place.wait()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(place.wait(), 1.0)

    run_virtual(scenario())


def test_a_wait_leaves_no_timer_behind() -> None:
    """However long it might have been, once it was woken or cancelled."""

    async def scenario() -> None:
        line = Line()
        with line.join() as place:
            line.wake()
            await place.wait(1e6)
            asyncio.get_running_loop().call_later(1.0, line.wake)
            await place.wait(1e6)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(place.wait(1e6), 1.0)
        await asyncio.sleep(0)
        timers = asyncio.get_running_loop()._scheduled
        assert all(timer.cancelled() for timer in timers)

    run_virtual(scenario())


def test_all_can_be_woken() -> None:
    """Everyone looks again, whoever is first."""

    async def scenario() -> None:
        line, woken = Line(), []

        async def wait(number: int) -> None:
            with line.join() as place:
                await place.wait()
                woken.append(number)

        waiting = [asyncio.ensure_future(wait(number)) for number in range(3)]
        await asyncio.sleep(1.0)
        line.wake_all()
        await asyncio.gather(*waiting)
        assert woken == [0, 1, 2]

    run_virtual(scenario())


def test_a_line_over_loops_in_threads() -> None:
    """Four loops share three permits: never more are held, all get their turn, and none is left over."""
    permits, held, most, lock = Permits(3), [0], [0], threading.Lock()

    async def call() -> None:
        with permits.line.join() as place:
            while not (place.first and permits.take()):
                await asyncio.wait_for(place.wait(), PATIENCE)
        with lock:
            held[0] += 1
            most[0] = max(most[0], held[0])
        await asyncio.sleep(0)
        with lock:
            held[0] -= 1
        permits.free.append(0)
        permits.line.wake()

    async def calls() -> None:
        await asyncio.gather(*(call() for _ in range(50)))

    threads = [threading.Thread(target=asyncio.run, args=(calls(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert (most[0], held[0], len(permits.free), len(permits.line)) == (3, 0, 3, 0)


def test_a_place_in_a_closed_loop_is_passed_over() -> None:
    """Its task never comes back; the next in line goes, whether it was there before or comes later."""
    line = Line()
    lost = VirtualTimeLoop()
    stuck = lost.create_task(waiting(line))
    lost.run_until_complete(asyncio.sleep(0))
    lost.close()

    async def scenario() -> None:
        with line.join() as place:
            line.wake()
            await asyncio.wait_for(place.wait(), 1.0)
            assert place.first

    run_virtual(scenario())
    assert len(line) == 0
    stuck._log_destroy_pending = False


async def waiting(line: Line) -> None:
    with line.join() as place:
        await place.wait()


def test_a_loop_that_is_closed_this_moment_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the call it may end, in its own thread; whether one is woken or all."""
    for wake in (Line.wake, Line.wake_all):
        line = Line()
        lost = VirtualTimeLoop()
        stuck = lost.create_task(waiting(line))
        lost.run_until_complete(asyncio.sleep(0))
        lost.close()
        monkeypatch.setattr(lost, "is_closed", lambda: False)

        async def scenario(line: Line = line, wake=wake) -> None:
            with line.join() as place:
                wake(line)
                await asyncio.wait_for(place.wait(), 1.0)
                assert len(line) == 1

        run_virtual(scenario())
        monkeypatch.undo()
        stuck._log_destroy_pending = False


@pytest.mark.parametrize("look", [Line.wake, Line.wake_all, lambda line: line.is_first(object())])
def test_a_line_that_is_woken_while_it_is_looked_at(look, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that the garbage collector finds wakes it in the midst of that; who is gone is forgotten once."""
    line, woken = Line(), []
    lost = VirtualTimeLoop()
    stuck = lost.create_task(waiting(line))
    lost.run_until_complete(asyncio.sleep(0))
    lost.close()

    def collecting() -> bool:
        if not woken:
            woken.append(True)
            line.wake()
        return True

    monkeypatch.setattr(lost, "is_closed", collecting)
    look(line)
    assert woken
    assert len(line) == 0
    monkeypatch.undo()
    stuck._log_destroy_pending = False


def test_who_comes_after_a_closed_loop_is_first() -> None:
    """Nobody needs to wake anyone for that."""
    line = Line()
    lost = VirtualTimeLoop()
    stuck = lost.create_task(waiting(line))
    lost.run_until_complete(asyncio.sleep(0))
    lost.close()

    async def scenario() -> None:
        with line.join() as place:
            assert place.first

    run_virtual(scenario())
    stuck._log_destroy_pending = False


def test_a_line_that_was_forked_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The places of the parent's tasks are not the child's to wait for, and the parent's loop is not its to wake."""
    line = Line()
    parents = VirtualTimeLoop()
    stuck = parents.create_task(waiting(line))
    parents.run_until_complete(asyncio.sleep(0))
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    monkeypatch.setattr(parents, "call_soon_threadsafe", lambda *_: pytest.fail("the parent was woken"))

    async def scenario() -> None:
        with line.join() as place:
            line.wake()
            await asyncio.wait_for(place.wait(), 1.0)
            assert place.first
            assert len(line) == 1

    run_virtual(scenario())
    parents.close()
    stuck._log_destroy_pending = False
