"""Work that several wait for."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from resilient_llm.transports.shared_work import SharedWork


class Work:
    """Counts how often it was begun and left, and gives its number when told to."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.begun


async def waiters(shared: SharedWork[int], work: Work, count: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(shared.join(work)) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_it_is_done_once():
    """All who wait get the same result; who comes later has it done again."""
    shared, work = SharedWork[int](), Work()
    tasks = await waiters(shared, work, 3)
    work.go.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert await shared.join(work) == 2


async def test_who_leaves_takes_it_from_nobody():
    """The first caller is cancelled; the others get their result."""
    shared, work = SharedWork[int](), Work()
    first, *others = await waiters(shared, work, 3)
    first.cancel()
    await asyncio.wait([first])
    work.go.set()
    assert await asyncio.gather(*others) == [1, 1]
    assert (first.cancelled(), work.cancelled) == (True, 0)


async def test_the_last_to_leave_ends_it():
    """Nobody waits: the work is cancelled, and whoever comes meanwhile begins anew instead of joining it."""
    shared, work = SharedWork[int](), Work()
    for task in await waiters(shared, work, 2):
        task.cancel()
    late = asyncio.create_task(shared.join(work))
    work.go.set()
    assert await late == 2
    assert (work.begun, work.cancelled) == (2, 1)


async def test_everyone_gets_the_failure():
    """What the work raises is raised by every wait, and does not stay."""
    shared = SharedWork[int]()

    async def fail() -> int:
        await asyncio.sleep(0)
        msg = "no"
        raise OSError(msg)

    results = await asyncio.gather(shared.join(fail), shared.join(fail), return_exceptions=True)
    assert [str(result) for result in results] == ["no", "no"]
    work = Work()
    work.go.set()
    assert await shared.join(work) == 1


def test_every_loop_does_its_own():
    """A task of a loop that is gone is not waited for."""
    shared = SharedWork[int]()

    async def abandon() -> None:
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
        await shared.join(Work())

    async def use() -> int:
        work = Work()
        work.go.set()
        return await shared.join(work)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(abandon())
    assert asyncio.run(use()) == 1


def test_loops_at_the_same_time_do_not_wait_for_each_other():
    """A future of another loop cannot be awaited; each loop has the work done for itself."""
    shared, begun, done = SharedWork[int](), threading.Event(), threading.Event()

    async def held() -> int:
        begun.set()
        await asyncio.to_thread(done.wait, 10)
        return 1

    async def other() -> int:
        await asyncio.sleep(0)
        return 2

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(lambda: asyncio.run(shared.join(held)))
        assert begun.wait(10)
        try:
            assert asyncio.run(shared.join(other)) == 2
        finally:
            done.set()
        assert first.result(10) == 1
