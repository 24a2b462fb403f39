"""A model that is loading: its callers wait together, and one request a second asks how it is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import threading
import time

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.clock import SYSTEM_CLOCK
from resilient_llm.commit import whole
from resilient_llm.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    ModelInvalidRequestError,
    ModelLoadingError,
    ModelUnavailableError,
)
from resilient_llm.events import Finish, TextDelta, Waiting
from resilient_llm.middleware import Retry
from resilient_llm.middleware.loading import LoadingModels
from resilient_llm.models import Attempt, Request
from resilient_llm.pipeline import Pipeline
from resilient_llm.response import ResponseInfo
from resilient_llm.testing import FakeClock, run_virtual

ASK = Request(messages=({"role": "user", "content": "Hello"},), model="m")


def refusal(**more) -> ModelLoadingError:
    return ModelLoadingError("loading", backend="local", **more)


class Server:
    """A local server: refuses until its model is loaded, then answers after a while.

    Args:
        loaded: When it is.
        takes: How long an answer takes.
        refuses_in: How long a refusal takes.
        fate: What it says instead of "loading" from that instant on.
    """

    def __init__(
        self, loaded: float, takes: float = 0.0, refuses_in: float = 0.0, fate: Exception | None = None
    ) -> None:
        self.loaded = loaded
        self.takes = takes
        self.refuses_in = refuses_in
        self.fate = fate
        self.asked: list[float] = []

    async def __call__(self, request: Request):
        now = asyncio.get_running_loop().time()
        self.asked.append(now)
        if now < self.loaded:
            if self.refuses_in:
                await asyncio.sleep(self.refuses_in)
            raise refusal(model=request.model)
        if self.fate is not None:
            raise self.fate
        await asyncio.sleep(self.takes)
        return whole([TextDelta("Hello"), Finish("stop")], ResponseInfo("local"), request)


def calling(server, **options):
    """What makes a call: gives its text or error, and when it was over."""
    clock = FakeClock()
    retry = Retry(clock=clock, **({"jitter": None, "rng": random.Random(1)} | options))
    pipeline = Pipeline([retry], server, clock=clock)

    async def call(request: Request = ASK, after: float = 0.0):
        await asyncio.sleep(after)
        try:
            result = (await (await pipeline(request)).completion()).text
        except Exception as error:  # noqa: BLE001 - the test judges it
            result = error
        return result, asyncio.get_running_loop().time()

    return call


def test_many_callers_ask_once_a_second() -> None:
    """After the first burst one request is sent a second after the last refusal; then all go at once."""

    async def scenario() -> None:
        server = Server(20.0, refuses_in=0.25)
        call = calling(server)
        ends = await asyncio.gather(*(call() for _ in range(1000)))
        polls = [1.25 * number for number in range(1, 17)]
        assert set(ends) == {("Hello", 20.0)}
        assert server.asked[:1000] == [0.0] * 1000
        assert server.asked[1000:1016] == polls
        assert server.asked[1016:] == [20.0] * 999

    run_virtual(scenario())


def test_who_comes_later_sends_nothing_before_it_is_there() -> None:
    """A caller that comes while a model is loading waits without having asked."""

    async def scenario() -> None:
        server = Server(10.0)
        call = calling(server)
        ends = await asyncio.gather(*(call(after=n / 10) for n in range(95)))
        assert set(ends) == {("Hello", 10.0)}
        assert server.asked[:11] == [float(second) for second in range(11)]
        assert len(server.asked) == 10 + 95

    run_virtual(scenario())


def test_models_are_waited_for_one_by_one() -> None:
    """A loaded model's callers do not wait for another one that is loading."""

    async def scenario() -> None:
        server = Server(5.0)
        call = calling(server)

        async def loads_at_once(request):
            if request.model == "other":
                return whole([TextDelta("Hi"), Finish("stop")], ResponseInfo("local"), request)
            return await server(request)

        call = calling(loads_at_once)
        other = attrs.evolve(ASK, model="other")
        ends = await asyncio.gather(call(), call(other, after=2.0))
        assert ends == [("Hello", 5.0), ("Hi", 2.0)]

    run_virtual(scenario())


@pytest.mark.parametrize("steps", [*range(12)])
def test_who_asks_may_be_cancelled(steps) -> None:
    """Whenever the one whose turn it is leaves, the next one asks at its time: nobody waits longer for it."""

    async def scenario() -> None:
        server = Server(6.0)
        call = calling(server)
        calls = [asyncio.ensure_future(call()) for _ in range(5)]
        for first in calls[:3]:
            await asyncio.sleep(1.0)
            for _ in range(steps):
                await asyncio.sleep(0)
            first.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert ends[3:] == [("Hello", 6.0)] * 2
        assert server.asked[:7] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(scenario())


def test_an_answer_that_takes_long_does_not_hold_the_others_up() -> None:
    """Who is not refused may be waiting for its answer: another one asks a second later, until one is there."""

    async def scenario() -> None:
        server = Server(3.0, takes=2.5)
        call = calling(server)
        ends = await asyncio.gather(*(call() for _ in range(9)))
        assert server.asked == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, *[5.5] * 6]
        assert sorted(end for _, end in ends) == [5.5, 6.5, 7.5, *[8.0] * 6]

    run_virtual(scenario())


def test_another_error_lets_all_go() -> None:
    """A server that cannot load its model after all, or crashes, is judged by each caller for itself."""

    async def scenario() -> None:
        broken = ModelInvalidRequestError("cannot load")
        server = Server(4.0, fate=broken)
        call = calling(server)
        ends = await asyncio.gather(*(call() for _ in range(7)))
        assert ends == [(broken, 4.0)] * 7
        assert server.asked == [0.0, 1.0, 2.0, 3.0, *[4.0] * 7]

    run_virtual(scenario())


def test_a_crash_is_retried_and_waited_for_again() -> None:
    """Down for a moment, then loading anew: refusals cost no retry, the crash costs one."""

    async def scenario() -> None:
        script = itertools.chain(
            [refusal()] * 3,
            [ModelUnavailableError("gone")],
            [refusal()] * 30,
        )

        async def server(request):
            for error in script:
                raise error
            return whole([TextDelta("Hello"), Finish("stop")], ResponseInfo("local"), request)

        notices: list[object] = []
        call = calling(server, max_retries=1)
        request = attrs.evolve(ASK, observers=(notices.append,))
        assert await call(request) == ("Hello", 3.0 + 0.5 + 30.0)
        attempts = [notice for notice in notices if isinstance(notice, Attempt)]
        assert [attempt.number for attempt in attempts] == [1] * 4 + [2] * 31
        assert sum(attempt.waited for attempt in attempts) == 33.5

    run_virtual(scenario())


def test_an_old_refusal_is_forgotten() -> None:
    """A refusal that nobody asked again after keeps nobody from going at once, were it hours later."""

    async def scenario() -> None:
        server = Server(5.0, takes=60.0)
        call = calling(server)
        first = asyncio.ensure_future(call())
        await asyncio.sleep(0.5)
        first.cancel()
        ends = await asyncio.gather(*(call(after=3600.0) for _ in range(9)))
        assert set(ends) == {("Hello", 3660.5)}

    run_virtual(scenario())


def test_a_rejection_on_this_side_says_nothing_of_the_model() -> None:
    """One whose turn to ask ends at an open circuit leaves the others waiting."""

    async def scenario() -> None:
        server, opened = Server(4.0), CircuitOpenError("open")

        async def rejects(request, call_next):
            if request.params:
                raise opened
            return await call_next(request)

        clock = FakeClock()
        retry = Retry(clock=clock, jitter=None)
        pipeline = Pipeline([retry, rejects], server, clock=clock)
        rejected = attrs.evolve(ASK, params={"rejected": True})

        async def call(request, after):
            await asyncio.sleep(after)
            with contextlib.suppress(CircuitOpenError):
                await pipeline(request)
            return asyncio.get_running_loop().time()

        ends = await asyncio.gather(call(ASK, 0.0), call(rejected, 0.5), call(ASK, 0.6))
        assert ends == [4.0, 2.0, 4.0]
        assert server.asked == [0.0, 1.0, 3.0, 4.0, 4.0]

    run_virtual(scenario())


# Patience ...


def test_each_waits_as_long_as_it_may() -> None:
    """Deadlines and the limit for loading are each caller's own; who only waited has made no attempt."""

    async def scenario() -> None:
        server = Server(1000.0)
        call = calling(server, loading_timeout=30.0)
        hasty = attrs.evolve(ASK, deadline=12.25)
        late = attrs.evolve(ASK, deadline=20.5)
        ends = await asyncio.gather(call(), call(hasty), call(late, after=5.5), call(after=7.5))
        (first, at), (second, due), (third, then), (fourth, end) = ends
        assert isinstance(first, ModelLoadingError)
        assert "still loading after 30 s" in str(first)
        assert at == 30.0
        assert isinstance(second, DeadlineExceededError)
        assert isinstance(second.__cause__, ModelLoadingError)
        assert 11.25 <= due <= 12.25
        assert isinstance(third, DeadlineExceededError)
        assert 19.5 <= then <= 20.5
        assert isinstance(fourth, ModelLoadingError)
        assert (fourth.backend, fourth.model, end) == ("local", "m", 37.5)
        gaps = [later - earlier for earlier, later in itertools.pairwise(server.asked[2:])]
        assert set(gaps) == {1.0}

    run_virtual(scenario())


def test_who_only_waited_has_made_no_attempt() -> None:
    """A caller that gave up before its turn came raises what the others were told, without an attempt."""

    async def scenario() -> None:
        server = Server(1000.0)
        call = calling(server, loading_timeout=0.5)
        ends = await asyncio.gather(call(), call(after=0.25))
        assert [type(error) for error, _ in ends] == [ModelLoadingError] * 2
        assert [error.attempts for error, _ in ends] == [1, 0]
        assert [end for _, end in ends] == [0.5, 0.75]
        assert ends[1][0] is not ends[0][0]

    run_virtual(scenario())


def test_where_there_is_another_way_nobody_waits_long() -> None:
    """`max_wait`, which a fallback sets, bounds the wait for a loading model as a whole."""

    async def scenario() -> None:
        server = Server(1000.0)
        call = calling(server)
        short = attrs.evolve(ASK, extensions={"max_wait": 3.0})
        ends = await asyncio.gather(call(short), call(short, after=1.5))
        assert [(type(error), end) for error, end in ends] == [
            (ModelLoadingError, 3.0),
            (ModelLoadingError, 4.5),
        ]

    run_virtual(scenario())


def test_a_server_that_names_a_wait_is_given_it() -> None:
    """The next question comes no sooner than the last refusal asked for, whoever asks."""

    async def scenario() -> None:
        asked = []

        async def server(request):
            asked.append(asyncio.get_running_loop().time())
            if asked[-1] < 12.0:
                raise refusal(retry_after=5.0)
            return whole([TextDelta("Hello"), Finish("stop")], ResponseInfo("local"), request)

        call = calling(server)
        await asyncio.gather(*(call() for _ in range(3)))
        first, second, third = sorted(set(asked))[:3]
        assert first == 0.0
        assert 5.0 <= second <= 5.5
        assert 5.0 <= third - second <= 5.5
        assert len(asked) == 3 + 3  # three that are refused, and one answer for each

    run_virtual(scenario())


def test_the_longest_wait_that_was_asked_for_counts() -> None:
    """Of refusals that come together, the one that asks for most is heard."""
    clock = FakeClock()
    models = LoadingModels(clock)
    models.refused("m", refusal(), 5.0)
    models.refused("m", refusal(), 1.0)

    async def scenario() -> float:
        assert await models.turn("m", 100.0, lambda *_: None) is None
        return clock.monotonic()

    assert run_virtual(scenario()) == 5.0


def test_a_line_that_does_not_move_is_no_old_refusal() -> None:
    """Where others still wait, be their loop busy, a caller joins them instead of making an end of it."""

    async def scenario() -> None:
        clock = FakeClock()
        models = LoadingModels(clock)
        models.refused("m", refusal(), 1.0)
        first = asyncio.ensure_future(models.turn("m", 100.0, lambda *_: None))
        await asyncio.sleep(0)
        clock.advance(50.0)
        second = asyncio.ensure_future(models.turn("m", 100.0, lambda *_: None))
        await asyncio.sleep(0)
        assert not second.done()
        models.answered("m")
        assert await asyncio.gather(first, second) == [None, None]

    run_virtual(scenario())


def test_a_retrys_wait_and_the_wait_for_the_model_add_up() -> None:
    """Who backs off, and finds the model loading when it comes back, tells how long it waited in all."""

    async def scenario() -> None:
        answers = {
            "crash": iter([ModelUnavailableError("gone"), None]),
            "": iter([refusal(), None, None]),
        }

        async def server(request):
            error = next(answers[request.params.get("who", "")])
            if error is not None:
                raise error
            return whole([TextDelta("Hello"), Finish("stop")], ResponseInfo("local"), request)

        notices: list[object] = []
        call = calling(server)
        crashing = attrs.evolve(ASK, params={"who": "crash"}, observers=(notices.append,))
        ends = await asyncio.gather(call(crashing), call(after=0.25))
        assert ends[0] == ("Hello", 1.25)
        attempts = [notice for notice in notices if isinstance(notice, Attempt)]
        assert [attempt.waited for attempt in attempts] == [0.0, 1.25]

    run_virtual(scenario())


def test_each_wait_is_told() -> None:
    """Who waits is told of it, with the time to the next question and the reason, also without having asked."""

    async def scenario() -> None:
        server = Server(3.0)
        call = calling(server)
        notices: list[object] = []
        watched = attrs.evolve(ASK, observers=(notices.append,))
        await asyncio.gather(call(), call(), call(watched, after=0.25))
        waits = [notice for notice in notices if isinstance(notice, Waiting)]
        assert [(notice.seconds, notice.attempt) for notice in waits] == [(0.75, 1)]
        assert isinstance(waits[0].error, ModelLoadingError)
        attempts = [notice for notice in notices if isinstance(notice, Attempt)]
        assert [(attempt.waited, attempt.error) for attempt in attempts] == [(2.75, None)]

    run_virtual(scenario())


# All of it ...


@settings(max_examples=60, deadline=None)
@given(
    loaded=st.sampled_from([0.0, 2.5, 6.0]),
    takes=st.sampled_from([0.0, 0.3, 3.0]),
    callers=st.lists(
        st.tuples(
            st.floats(0.0, 8.0), st.one_of(st.none(), st.floats(0.0, 8.0)), st.sampled_from([None, 4.0, 9.0])
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_whoever_comes_and_goes(loaded, takes, callers) -> None:
    """With any arrivals, cancellations and deadlines: at most one question a second, and nobody is forgotten."""

    async def scenario() -> None:
        server = Server(loaded, takes)
        call = calling(server)

        async def one(after, leaves, limit):
            request = attrs.evolve(ASK, deadline=None if limit is None else after + limit)
            task = asyncio.ensure_future(call(request, after=after))
            if leaves is not None:
                await asyncio.sleep(leaves)
                task.cancel()
            return (await asyncio.gather(task, return_exceptions=True))[0]

        ends = await asyncio.gather(*(one(*caller) for caller in callers))
        left = sum(isinstance(end, asyncio.CancelledError) for end in ends)  # each may have cost a question
        for (after, leaves, limit), end in zip(callers, ends, strict=True):
            if isinstance(end, asyncio.CancelledError):
                assert leaves is not None
                continue
            result, at = end
            if result == "Hello":
                assert at <= max(after, loaded + 1.0) + 2 * takes + left
            else:
                assert isinstance(result, DeadlineExceededError)
                assert limit is not None
                assert at <= after + limit + 1e-9
        first = min((after for after, _, _ in callers), default=0.0)
        refused = [at for at in server.asked if first < at < loaded]
        assert all(later - earlier > 0.999 for earlier, later in itertools.pairwise(refused))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(scenario())


def test_callers_on_many_loops_wait_together() -> None:
    """One object shared by clients in several threads: together they ask at the pace of one."""
    models = LoadingModels(SYSTEM_CLOCK)
    said = refusal()
    began = time.monotonic()
    models.refused("m", said, began + 0.05)
    asked: list[float] = []
    ends = began + 0.5

    async def call() -> None:
        while await models.turn("m", ends + 10, lambda *_: None) is None and "m" in models.models:
            now = time.monotonic()
            if now >= ends:
                models.answered("m")
                return
            asked.append(now)
            models.refused("m", said, now + 0.05)
            models.models["m"].again = now + 0.05

    async def calls() -> None:
        await asyncio.gather(*(call() for _ in range(25)))

    threads = [threading.Thread(target=asyncio.run, args=(calls(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    assert not any(thread.is_alive() for thread in threads)
    assert len(asked) <= 11
    assert not models.models
