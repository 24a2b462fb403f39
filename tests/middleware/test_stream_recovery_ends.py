"""StreamRecovery: however a recovering stream is left, all of its responses settle, once each."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections import Counter

import attrs
import pytest
from middleware.streams import ASK, END, broken, events_of, read, reset, stack, text_of, whole

from resilient_llm.calls import Calls
from resilient_llm.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    ModelResponseInvalidError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from resilient_llm.events import Finish, Restarted, TextDelta, Waiting
from resilient_llm.middleware import CircuitBreaker, ErrorClassifier, Retry, StreamRecovery
from resilient_llm.middleware.repeating import MOST
from resilient_llm.pipeline import Pipeline
from resilient_llm.presets import standard_stack
from resilient_llm.response import OutcomeKind, Response
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

SCRIPTS = (
    [1.0, TextDelta("a"), 1.0, TextDelta("b"), 1.0, reset()],
    [1.0, reset()],
    [1.0, TextDelta("a"), 1.0, reset()],
    [1.0, TextDelta("a"), 1.0, TextDelta("b"), 1.0, END],
)
"""Breaks at 3 s; waits till 3.5, fails at 4.5, waits till 5.5, breaks at 7.5, waits till 9.5, is whole at 12.5."""

LASTS = 12.5


class Ledger:
    """A stage that counts how the responses which pass it settle."""

    def __init__(self) -> None:
        self.given = 0
        self.ends: Counter[str] = Counter()

    async def __call__(self, request, call_next) -> Response:
        response = await call_next(request)
        self.given += 1
        once = iter([None])

        def settled(outcome) -> None:
            next(once)
            self.ends[outcome.kind] += 1

        response.on_settle(settled)
        return response


def watched(mode: str, *scripts):
    """The standard stack with a ledger outside the recovery and one inside."""
    clock = FakeClock()
    transport = ScriptedTransport(*scripts)
    outer, inner = Ledger(), Ledger()
    stages = standard_stack(clock=clock, recovery=mode, jitter=None, token_budget=None)
    place = next(place for place, stage in enumerate(stages) if isinstance(stage, StreamRecovery))
    stages[place : place + 1] = [outer, stages[place], inner]
    return Pipeline(stages, transport, clock=clock), transport, outer, inner


async def nothing_left(transport, outer, inner) -> None:
    """Nothing is open, nobody waits, nothing more is sent."""
    sent = len(transport.requests)
    await asyncio.sleep(100)
    assert transport.open_bodies == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(transport.requests) == sent
    assert outer.ends.total() == outer.given
    assert inner.ends.total() == inner.given


def test_the_script_is_what_it_says() -> None:
    """The times that the tests below rely on."""

    async def scenario() -> None:
        pipeline, transport, outer, inner = watched("restart", *SCRIPTS)
        seen, error = await read(pipeline)
        assert (text_of(seen), error, asyncio.get_running_loop().time()) == ("ab", None, LASTS)
        assert [event.attempt for event in seen if isinstance(event, Restarted)] == [3, 4]
        await nothing_left(transport, outer, inner)
        assert outer.ends == {OutcomeKind.COMPLETED: 1}
        assert inner.ends == {OutcomeKind.FAILED: 2, OutcomeKind.COMPLETED: 1}

    run_virtual(scenario())


MOMENTS = [quarter / 4 for quarter in range(1, round(LASTS * 4))]


@pytest.mark.parametrize("mode", ["restart", "resume"])
def test_cancelled_at_any_moment(mode) -> None:
    """Reading, waiting, asking again: the call ends as a cancellation, and nothing is left of it."""

    async def scenario(moment: float) -> None:
        pipeline, transport, outer, inner = watched(mode, *SCRIPTS)
        reader = asyncio.ensure_future(read(pipeline))
        await asyncio.sleep(moment)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await nothing_left(transport, outer, inner)
        assert OutcomeKind.COMPLETED not in outer.ends + inner.ends
        assert outer.ends[OutcomeKind.FAILED] == 0

    for moment in MOMENTS:
        run_virtual(scenario(moment))


@pytest.mark.parametrize("mode", ["restart", "resume"])
def test_closed_at_any_moment_by_another_task(mode) -> None:
    """The reader sees the end, at once and without an error, whatever it was waiting for; nothing more is sent."""

    async def scenario(moment: float) -> None:
        pipeline, transport, outer, inner = watched(mode, *SCRIPTS)
        response = await pipeline(ASK)
        seen = []

        async def reading() -> float:
            async for event in response:
                seen.append(event)  # noqa: PERF401 - what came before the end counts
            return asyncio.get_running_loop().time()

        reader = asyncio.ensure_future(reading())
        await asyncio.sleep(moment - 1.0)
        response.close()
        assert response.outcome is not None
        assert response.outcome.kind is OutcomeKind.ABANDONED
        ended = await asyncio.wait_for(reader, 1000)
        assert reader.cancelling() == 0
        if not any(isinstance(event, Finish) for event in seen):
            reading_on = 1.0  # who is in the middle of a read gets to its end
            assert ended <= moment + reading_on
        await nothing_left(transport, outer, inner)
        assert outer.ends == {OutcomeKind.ABANDONED: 1}

    for moment in MOMENTS:
        if moment >= 1.0:
            run_virtual(scenario(moment))


def test_closing_ends_a_long_wait_at_once() -> None:
    """A reader whose stream waits a minute for its next attempt does not hold up the one who closes it."""

    async def scenario() -> None:
        busy = ModelUnavailableError("busy", retry_after=50.0)
        pipeline, transport = stack("restart", broken("a", busy), whole("never"))
        response = await pipeline(ASK)
        reader = asyncio.ensure_future(response.completion())
        await asyncio.sleep(1.0)
        response.close()
        with pytest.raises(Exception, match="closed before its end") as caught:
            await reader
        assert caught.value.partial.text == "a"
        assert asyncio.get_running_loop().time() == 1.0
        await asyncio.sleep(100)
        assert len(transport.requests) == 1

    run_virtual(scenario())


def test_closed_while_the_next_response_is_on_its_way_in_the_same_step() -> None:
    """A close that comes as the next response is handed over closes that one, too."""

    async def scenario() -> None:
        transport = ScriptedTransport(broken("a"), whole("b|c"))
        held: list[Response] = []

        async def closes(request, call_next):
            response = await call_next(request)
            held.append(response)
            if len(held) == 2:
                outer.close()
            return response

        retry = Retry(clock=FakeClock(), jitter=None)
        outer = await Pipeline([StreamRecovery("restart"), closes, retry], transport)(ASK)
        events = [event async for event in outer]
        assert events == [TextDelta("a")]
        assert transport.open_bodies == 0
        assert [response.outcome.kind for response in held] == [OutcomeKind.FAILED, OutcomeKind.ABANDONED]
        await asyncio.sleep(10)  # nothing cancels the reader afterwards

    run_virtual(scenario())


def test_closed_by_whoever_is_told_of_the_wait() -> None:
    """An observer may close the stream: the wait that it was told of does not take place."""

    async def scenario() -> None:
        def told(notice) -> None:
            if isinstance(notice, Waiting):
                response.close()

        pipeline, transport = stack("restart", broken("a"), whole("never"))
        response = await pipeline(attrs.evolve(ASK, observers=(told,)))
        assert [event async for event in response] == [TextDelta("a")]
        assert (asyncio.get_running_loop().time(), len(transport.requests)) == (0.0, 1)

    run_virtual(scenario())


def test_a_closing_client_ends_a_stream_that_waits() -> None:
    """The grace time over, the client ends the wait: the reader is told, and nothing is sent any more."""

    async def scenario() -> None:
        busy = ModelUnavailableError("busy", retry_after=50.0)
        pipeline, transport = stack("restart", broken("a", busy), whole("never"))
        calls = Calls()

        async def reading():
            async with await calls.run(pipeline, ASK) as response:
                await response.completion()

        reader = asyncio.ensure_future(reading())
        await asyncio.sleep(1.0)
        await calls.drain(2.0)
        with pytest.raises(ModelResponseInvalidError, match="client was closed") as caught:
            await reader
        assert caught.value.partial.text == "a"
        assert (asyncio.get_running_loop().time(), len(transport.requests)) == (3.0, 1)

    run_virtual(scenario())


@pytest.mark.parametrize("events", [0, 1, 2, 3])
def test_left_early_by_its_reader(events) -> None:
    """After any number of events, the restart included, leaving the block abandons what is open."""

    async def scenario() -> None:
        pipeline, transport, outer, inner = watched("restart", broken("a"), whole("b|c"))
        async with await pipeline(ASK) as response:
            for _ in range(events):
                await anext(response)
        assert transport.open_bodies == 0
        await nothing_left(transport, outer, inner)
        assert outer.ends == {OutcomeKind.ABANDONED: 1}

    run_virtual(scenario())


@pytest.mark.parametrize("events", [1, 3])
def test_dropped_without_being_closed(events) -> None:
    """A stream that is forgotten warns, whichever response it was reading, and leaves nothing open."""

    async def scenario() -> None:
        pipeline, transport, outer, _inner = watched("restart", broken("a"), whole("b|c|d"))
        response = await pipeline(ASK)
        for _ in range(events):
            await anext(response)
        with pytest.warns(ResourceWarning, match="dropped without being closed"):  # noqa: PT031 - both drop it
            del response
            gc.collect()
        assert transport.open_bodies == 0
        assert outer.ends == {OutcomeKind.ABANDONED: 1}

    run_virtual(scenario())


def test_a_recovered_stream_warns_of_nothing() -> None:
    """No response is dropped on the way, not even for the collector to find."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        events_of("restart", *SCRIPTS)
        gc.collect()


# Time ...


@pytest.mark.parametrize("deadline", [3.2, 4.0, 5.0, 7.0, 8.0, 10.0])
def test_the_deadline_ends_it_wherever_it_is(deadline) -> None:
    """Reading, waiting or asking again: the call is over by its deadline, with what had come."""
    request = attrs.evolve(ASK, deadline=deadline)
    seen, error, _, now = events_of("restart", *SCRIPTS, request=request)
    assert isinstance(error, DeadlineExceededError)
    assert now <= deadline + 0.11
    assert error.partial.text == text_of(seen)


def test_the_deadline_bounds_a_stage_that_does_not_mind_it() -> None:
    """A stage that waits for ever while the stream is begun again is interrupted as in a first attempt."""

    async def scenario() -> None:
        async def stuck(request, call_next):
            if request.attempt > 1:
                await asyncio.sleep(10_000)
            return await call_next(request)

        clock = FakeClock()
        stages = standard_stack(clock=clock, recovery="restart", jitter=None, token_budget=None)
        transport = ScriptedTransport(broken("a"))
        pipeline = Pipeline([*stages[:-1], stuck, stages[-1]], transport, clock=clock, validate=False)
        bare = Pipeline([stages[1], stages[2], stages[3], stuck], transport, clock=clock)
        for each in (pipeline, bare):
            begun = clock.monotonic()
            seen, error = await read(each, attrs.evolve(ASK, deadline=begun + 5.0))
            assert isinstance(error, DeadlineExceededError)
            assert (seen, error.partial.text) == ([TextDelta("a")], "a")
            assert clock.monotonic() - begun <= 5.11

    run_virtual(scenario())


def test_each_stream_has_its_own_idle_limit() -> None:
    """A stall of the first response is recovered like a break; a stall of the second one as well."""
    stall = [TextDelta("a"), 1000.0]
    seen, error, transport, now = events_of("restart", stall, stall, whole("b"))
    assert (text_of(seen), error, len(transport.requests)) == ("b", None, 3)
    reasons = [event.reason for event in seen if isinstance(event, Restarted)]
    assert [type(reason) for reason in reasons] == [ModelTimeoutError] * 2
    assert now == 30.0 + 0.5 + 30.0 + 1.0


def test_a_first_token_limit_bounds_the_new_answer() -> None:
    """The wait for the new answer's first content is an attempt like any other."""
    seen, error, _, now = events_of("restart", broken("a"), [1000.0], whole("b"))
    assert (text_of(seen), error, now) == ("b", None, 0.5 + 60.0 + 1.0)


# Other stages ...


def test_an_opened_circuit_ends_the_stream_with_what_broke_it() -> None:
    """A rejection in the middle of a call is noted on the real error."""
    clock = FakeClock()
    breaker = CircuitBreaker(fail_max=1, clock=clock)
    _, error, transport, _ = events_of("restart", broken("a"), whole("never"), breaker=breaker)
    assert isinstance(error, ModelUnavailableError)
    assert (error.partial.text, len(transport.requests)) == ("a", 1)
    assert "CIRCUIT_OPEN" in str(error)
    assert isinstance(error.trace[-1].error, CircuitOpenError)


def test_stages_further_out_see_one_response() -> None:
    """Their hooks see every event once, the restart too, and one end."""

    async def scenario() -> None:
        seen, outcomes = [], []

        async def outermost(request, call_next):
            response = await call_next(request)
            response.on_event(lambda event: seen.append(event) or event)
            response.on_settle(outcomes.append)
            return response

        pipeline, _ = stack("restart", broken("a|b"), whole("c|d"))
        wrapped = Pipeline([outermost], pipeline)
        async with await wrapped(ASK) as response:
            read = [event async for event in response]
        assert read == seen
        assert sum(isinstance(event, Restarted) for event in seen) == 1
        assert [outcome.kind for outcome in outcomes] == [OutcomeKind.COMPLETED]

    run_virtual(scenario())


def test_a_response_that_a_stage_inside_closes_ends_the_stream() -> None:
    """That is no failure to recover from, and nothing to wait for."""

    async def scenario() -> None:
        held = []

        async def keeps(request, call_next):
            held.append(await call_next(request))
            return held[-1]

        transport = ScriptedTransport([TextDelta("a"), 1.0, TextDelta("b"), END])
        outer = await Pipeline([StreamRecovery("restart"), Retry(clock=FakeClock()), keeps], transport)(ASK)
        assert await anext(outer) == TextDelta("a")
        held[0].close()
        assert [event async for event in outer] == []
        assert outer.outcome.kind is OutcomeKind.ABANDONED

    run_virtual(scenario())


def test_what_is_no_llm_error_passes_through() -> None:
    """Without a classifier nobody can judge it."""

    async def scenario() -> None:
        transport = ScriptedTransport(broken("a", OSError("raw")), whole("never"))
        retry = Retry(clock=FakeClock())
        response = await Pipeline([StreamRecovery("restart"), retry], transport)(ASK)
        await anext(response)
        with pytest.raises(OSError, match="raw"):
            await anext(response)
        assert len(transport.requests) == 1

    run_virtual(scenario())


def test_a_stack_that_always_calls_again_is_bounded() -> None:
    """Even where nothing inside says no, a stream does not break for ever."""

    async def scenario() -> None:
        transport = ScriptedTransport(broken("a"))
        stages = [StreamRecovery("restart"), ErrorClassifier(clock=FakeClock())]
        response = await Pipeline(stages, transport, validate=False)(ASK)
        with pytest.raises(ModelUnavailableError, match=f"broke {MOST + 1} times"):
            await response.completion()
        assert len(transport.requests) == MOST + 1
        assert [request.attempt for request in transport.requests] == [*range(1, MOST + 2)]

    run_virtual(scenario())
