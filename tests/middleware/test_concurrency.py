"""ConcurrencyLimit: never more at once, in order of arrival, and no permit is lost, whoever leaves."""

from __future__ import annotations

import asyncio
import os
import threading

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.errors import LimitExceededError, ModelUnavailableError
from resilient_llm.events import Finish, TextDelta
from resilient_llm.middleware import ConcurrencyLimit
from resilient_llm.models import Request
from resilient_llm.pipeline import Pipeline
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

ASK = Request(messages=({"role": "user", "content": "Hello"},), model="m")
STREAM = attrs.evolve(ASK, stream=True)
DOWN = ModelUnavailableError("down")
SECOND = [TextDelta("a"), 1.0, TextDelta("b"), Finish("stop")]


def free(limit: ConcurrencyLimit) -> int:
    return len(limit._permits._free)


def stack(*scripts, limit: int = 1, **options) -> tuple[ConcurrencyLimit, Pipeline, ScriptedTransport]:
    clock = FakeClock()
    stage = ConcurrencyLimit(limit, clock=clock, **options)
    transport = ScriptedTransport(*(scripts or (SECOND,)))
    return stage, Pipeline([stage], transport, clock=clock), transport


def test_never_more_at_once_and_in_order() -> None:
    """Seven calls of a second each, three at once: three seconds, the first first."""

    async def scenario() -> None:
        limit, pipeline, transport = stack(limit=3)
        requests = [attrs.evolve(ASK, params={"seed": number}) for number in range(7)]
        tasks = [asyncio.ensure_future(pipeline(request)) for request in requests]
        for running in (3, 3, 1):
            await asyncio.sleep(0.5)
            assert transport.open_bodies == running
            await asyncio.sleep(0.5)
        await asyncio.gather(*tasks)
        assert [request.params["seed"] for request in transport.requests] == list(range(7))
        assert free(limit) == 3

    run_virtual(scenario())


def test_a_stream_holds_its_permit_until_it_has_settled() -> None:
    """Until it is read to its end, not only to its first content."""

    async def scenario() -> None:
        limit, pipeline, _ = stack()
        async with await pipeline(STREAM) as response:
            waiting = asyncio.ensure_future(pipeline(STREAM))
            await asyncio.sleep(5.0)
            assert not waiting.done()
            await response.completion()
            second = await waiting
        second.close()
        assert free(limit) == 1

    run_virtual(scenario())


def test_a_failure_gives_the_permit_back() -> None:
    """Before the commit as after it."""

    async def scenario() -> None:
        limit, pipeline, _ = stack(
            ModelUnavailableError("down"), [TextDelta("a"), ModelUnavailableError("down")]
        )
        with pytest.raises(ModelUnavailableError):
            await pipeline(ASK)
        assert free(limit) == 1
        async with await pipeline(STREAM) as response:
            assert free(limit) == 0
            with pytest.raises(ModelUnavailableError):
                await response.completion()
            assert free(limit) == 1
        assert free(limit) == 1

    run_virtual(scenario())


def test_a_full_queue_rejects_at_once() -> None:
    """It says what is full; nothing was sent."""

    async def scenario() -> None:
        limit, pipeline, transport = stack(max_queue=2)
        tasks = [asyncio.ensure_future(pipeline(ASK)) for _ in range(3)]
        await asyncio.sleep(0.5)
        with pytest.raises(LimitExceededError, match="1 calls are running and 2 are waiting") as caught:
            await pipeline(ASK)
        assert caught.value.local
        assert asyncio.get_running_loop().time() == 0.5
        await asyncio.gather(*tasks)
        assert len(transport.requests) == 3
        assert free(limit) == 1

    run_virtual(scenario())


def test_no_queue_at_all() -> None:
    """With `max_queue=0` a call goes or is rejected."""

    async def scenario() -> None:
        limit, pipeline, _ = stack(max_queue=0)
        running = asyncio.ensure_future(pipeline(ASK))
        await asyncio.sleep(0.5)
        with pytest.raises(LimitExceededError):
            await pipeline(ASK)
        await running
        await pipeline(ASK)
        assert free(limit) == 1

    run_virtual(scenario())


@pytest.mark.parametrize(
    "request_",
    [attrs.evolve(ASK, deadline=2.5), attrs.evolve(ASK, deadline=9.0, extensions={"max_wait": 2.5})],
)
def test_nobody_waits_beyond_his_time(request_: Request) -> None:
    """Neither beyond the deadline nor beyond `max_wait`; the others keep their places."""

    async def scenario() -> None:
        limit, pipeline, transport = stack()
        tasks = [asyncio.ensure_future(pipeline(ASK)) for _ in range(3)]
        late = asyncio.ensure_future(pipeline(request_))
        last = asyncio.ensure_future(pipeline(ASK))
        with pytest.raises(LimitExceededError, match="in time"):
            await late
        assert asyncio.get_running_loop().time() == 2.5
        await asyncio.gather(*tasks, last)
        assert asyncio.get_running_loop().time() == 4.0
        assert len(transport.requests) == 4
        assert free(limit) == 1

    run_virtual(scenario())


def test_nobody_overtakes_who_has_just_been_woken() -> None:
    """A call that comes in the very step in which a permit is given back queues behind those who wait for it."""

    async def scenario() -> None:
        limit, pipeline, transport = stack()
        first = await pipeline(STREAM)
        second = asyncio.ensure_future(pipeline(attrs.evolve(STREAM, params={"seed": 2})))
        await asyncio.sleep(0)

        async def third() -> None:
            first.close()
            (await pipeline(attrs.evolve(STREAM, params={"seed": 3}))).close()

        task = asyncio.ensure_future(third())
        (await second).close()
        await task
        assert [request.params.get("seed") for request in transport.requests] == [None, 2, 3]
        assert free(limit) == 1

    run_virtual(scenario())


@pytest.mark.parametrize("steps", range(6))
def test_cancelled_at_every_step(steps: int) -> None:
    """While waiting, just woken, or running: the permit goes on to the next."""

    async def scenario() -> None:
        limit, pipeline, _ = stack()
        tasks = [asyncio.ensure_future(pipeline(ASK)) for _ in range(4)]
        await asyncio.sleep(1.0)
        for _ in range(steps):
            await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[3].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[3], asyncio.CancelledError)
        assert not isinstance(done[2], BaseException)
        assert free(limit) == 1
        assert len(limit._line) == 0

    run_virtual(scenario())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(
            st.integers(0, 5), st.integers(1, 5), st.sampled_from(["ends", "ends", "fails", "cancelled"])
        ),
        min_size=1,
        max_size=16,
    ),
)
def test_walks_of_arrivals_and_departures(limit: int, drawn) -> None:
    """Against a replay of the queue by hand: each call starts when the replay says so."""
    # no two things at the same instant, whose order would be a matter of taste
    calls = [(a + i * 0.0101, d + i * i * 0.00013, how) for i, (a, d, how) in enumerate(drawn)]
    expected: list[float | None] = []
    ends: list[float] = []
    arrivals = sorted(range(len(calls)), key=lambda index: (calls[index][0], index))
    for index in arrivals:
        arrival, length, how = calls[index]
        running = sorted(end for end in ends if end > arrival)
        start = arrival if len(running) < limit else running[-limit]
        if how == "cancelled" and start >= arrival + 1.0:
            expected.append(None)
            continue
        expected.append(start)
        ends.append(min(start + length, arrival + 1.0) if how == "cancelled" else start + length)
    started: dict[int, float] = {}

    async def scenario() -> None:
        clock = FakeClock()
        stage = ConcurrencyLimit(limit, clock=clock)

        async def backend(request: Request):
            index = request.params["index"]
            started[index] = clock.monotonic()
            await clock.sleep(calls[index][1])
            if calls[index][2] == "fails":
                raise DOWN
            return await ScriptedTransport("Hi")(request)

        async def call(index: int) -> None:
            await clock.sleep(calls[index][0])
            await Pipeline([stage], backend)(attrs.evolve(ASK, params={"index": index}))

        async def follow(index: int) -> None:
            task = asyncio.ensure_future(call(index))
            if calls[index][2] == "cancelled":
                await clock.sleep(calls[index][0] + 1.0)
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(follow(index) for index in arrivals))
        assert free(stage) == limit
        assert len(stage._line) == 0

    run_virtual(scenario())
    assert [started.get(index) for index in arrivals] == pytest.approx(expected, abs=1e-6)


def test_one_limit_over_loops_in_threads() -> None:
    """Four loops, three permits: never more at once, everybody served, nothing lost when some are cancelled."""
    limit = ConcurrencyLimit(3)
    lock, held, most, served = threading.Lock(), [0], [0], [0]

    async def backend(request: Request):
        with lock:
            held[0] += 1
            most[0] = max(most[0], held[0])
        try:
            await asyncio.sleep(0)
            served[0] += 1
        finally:
            with lock:
                held[0] -= 1
        return await ScriptedTransport("Hi")(request)

    async def calls() -> None:
        pipeline = Pipeline([limit], backend)
        tasks = [asyncio.ensure_future(pipeline(ASK)) for _ in range(40)]
        await asyncio.sleep(0)
        for task in tasks[::7]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    threads = [threading.Thread(target=asyncio.run, args=(calls(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    assert not any(thread.is_alive() for thread in threads)
    assert most[0] <= 3
    assert served[0] >= 4 * 33
    assert (free(limit), len(limit._line)) == (3, 0)


def test_a_loop_that_was_closed_takes_no_permit_along() -> None:
    """Its stream was never read to its end: the permit is back when the response is gone."""
    limit = ConcurrencyLimit(1)
    pipeline = Pipeline([limit], ScriptedTransport(SECOND))

    async def leave_open():
        return await pipeline(STREAM)

    response = asyncio.run(leave_open())
    assert free(limit) == 0

    async def scenario() -> None:
        waiting = asyncio.ensure_future(pipeline(STREAM))
        await asyncio.sleep(0)
        assert not waiting.done()
        response.close()
        (await waiting).close()

    asyncio.run(scenario())
    assert free(limit) == 1


def test_a_forked_child_begins_with_all_permits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's calls are not the child's to wait for; and what it ends of them gives it none."""

    async def scenario() -> None:
        limit, pipeline, _ = stack()
        parents = await pipeline(STREAM)
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        (await pipeline(STREAM)).close()
        parents.close()
        assert free(limit) == 1

    run_virtual(scenario())


@pytest.mark.parametrize(
    "options", [{"limit": 0}, {"limit": 1.5}, {"limit": True}, {"limit": 1, "max_queue": -1}]
)
def test_impossible_options_are_rejected(options) -> None:
    """Wrong types and ranges fail at construction, naming the option."""
    with pytest.raises((ValueError, TypeError), match=list(options)[-1]):
        ConcurrencyLimit(**options)
