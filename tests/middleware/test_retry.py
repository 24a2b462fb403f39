"""Retry: the only loop, driven in virtual time."""

from __future__ import annotations

import asyncio
import random

import attrs
import backoff
import pytest

from resilient_llm.errors import (
    CircuitOpenError,
    DeadlineExceededError,
    ErrorCode,
    LimitExceededError,
    ModelAuthError,
    ModelLoadingError,
    ModelOverloadedError,
    ModelRateLimitedError,
    ModelResponseInvalidError,
)
from resilient_llm.events import Finish, TextDelta, UsageEvent, Waiting
from resilient_llm.middleware.retry import Retry, decorrelated_jitter
from resilient_llm.models import Attempt, Request, Usage
from resilient_llm.pipeline import Pipeline
from resilient_llm.policy.outcomes import OUTCOMES, override
from resilient_llm.policy.retry_budget import RetryBudget
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

ASK = Request(messages=({"role": "user", "content": "Hello"},))
STREAM = attrs.evolve(ASK, stream=True)
BUSY = ModelOverloadedError("busy")


def pipeline(transport: ScriptedTransport, **options) -> Pipeline:
    clock = FakeClock()
    retry = Retry(clock=clock, **({"jitter": None, "rng": random.Random(1)} | options))
    return Pipeline([retry], transport, clock=clock)


def ask(transport: ScriptedTransport, request: Request = ASK, **options):
    """Run one call; gives its completion or raises, and when it was over."""

    async def scenario():
        response = await pipeline(transport, **options)(request)
        done = await response.completion()
        return done, asyncio.get_running_loop().time()

    return run_virtual(scenario())


def refused(transport: ScriptedTransport, kind: type[Exception], request: Request = ASK, **options):
    """Run one call that must fail; gives the error and when it came."""

    async def scenario():
        with pytest.raises(kind) as caught:
            await (await pipeline(transport, **options)(request)).completion()
        return caught.value, asyncio.get_running_loop().time()

    return run_virtual(scenario())


def test_a_call_that_succeeds_is_made_once() -> None:
    """Without a failure there is one attempt and no wait."""
    transport = ScriptedTransport("Hello")
    done, now = ask(transport)
    assert (done.text, done.attempts, now, len(transport.requests)) == ("Hello", 1, 0.0, 1)
    assert done.trace == (Attempt(1, "scripted", 0.0),)


def test_a_failed_call_is_repeated_after_its_wait() -> None:
    """Two failures cost 0.5 and 1 second, and the trace tells them."""
    transport = ScriptedTransport(BUSY, [0.25, BUSY], "Hello")
    done, now = ask(transport)
    assert now == 0.5 + 0.25 + 1.0
    assert done.attempts == 3
    assert [(a.number, a.duration, a.waited, a.error) for a in done.trace] == [
        (1, 0.0, 0.0, BUSY),
        (2, 0.25, 0.5, BUSY),
        (3, 0.0, 1.0, None),
    ]
    assert [request.attempt for request in transport.requests] == [1, 2, 3]


def test_the_last_error_is_raised_without_a_last_wait() -> None:
    """After the last attempt nothing is waited for; the error carries its attempts."""
    error, now = refused(ScriptedTransport(BUSY), ModelOverloadedError)
    assert now == 0.5 + 1.0 + 2.0
    assert error.attempts == 4
    assert [attempt.number for attempt in error.trace] == [1, 2, 3, 4]


def test_a_calls_own_options_win() -> None:
    """`max_retries` and `initial_backoff` of a call override the stage's."""
    request = attrs.evolve(ASK, extensions={"max_retries": 1, "initial_backoff": 0.1})
    error, now = refused(ScriptedTransport(BUSY), ModelOverloadedError, request)
    assert (error.attempts, now) == (2, 0.1)


def test_what_time_does_not_cure_is_raised_at_once() -> None:
    """A wrong key costs one attempt."""
    error, now = refused(ScriptedTransport(ModelAuthError("wrong key")), ModelAuthError)
    assert (error.attempts, now) == (1, 0.0)


def test_other_peoples_exceptions_pass_through() -> None:
    """What is no LLMError is neither retried nor changed."""
    transport = ScriptedTransport(KeyError("a bug"))
    refused(transport, KeyError)
    assert len(transport.requests) == 1


def test_a_server_delay_is_waited_for_in_full() -> None:
    """Retry-After of 10 s is waited for, plus at most a second, with full jitter on."""
    done, now = ask(ScriptedTransport(ModelRateLimitedError("slow", retry_after=10.0), "Hello"))
    assert done.attempts == 2
    assert 10.0 <= now <= 11.0


def test_a_server_delay_beyond_the_maximum_is_raised_with_the_delay() -> None:
    """A day's delay is not waited for; the error tells it and names the option."""
    error, now = refused(
        ScriptedTransport(ModelRateLimitedError("slow", retry_after=86_400.0)), ModelRateLimitedError
    )
    assert (error.retry_after, now) == (86_400.0, 0.0)
    assert "max_server_delay" in str(error)


def test_a_stream_is_repeated_before_its_first_content() -> None:
    """A stream that fails after its preamble is begun again; the caller sees one whole answer."""
    transport = ScriptedTransport([UsageEvent(Usage()), BUSY], "Hello")
    done, _ = ask(transport, STREAM)
    assert (done.text, len(transport.requests)) == ("Hello", 2)


def test_a_stream_is_never_repeated_after_its_first_content() -> None:
    """A stream that breaks later fails with what had come; no second request is sent."""
    transport = ScriptedTransport([TextDelta("half"), BUSY], "Hello")
    error, _ = refused(transport, ModelOverloadedError, STREAM)
    assert (error.partial.text, error.attempts, len(transport.requests)) == ("half", 1, 1)
    assert error.trace[0].error is error


def test_a_whole_call_that_breaks_half_way_is_repeated() -> None:
    """Nothing was delivered, so everything may be asked again."""
    done, _ = ask(ScriptedTransport([TextDelta("half"), ModelResponseInvalidError("cut")], "Hello"))
    assert done.text == "Hello"


def test_no_wait_runs_into_the_deadline() -> None:
    """If the next wait would end after the deadline, the call ends now, the last error attached."""
    request = attrs.evolve(ASK, deadline=1.2)
    error, now = refused(ScriptedTransport(BUSY), DeadlineExceededError, request)
    assert now == 0.5
    assert error.__cause__ is BUSY
    assert error.attempts == 2


def test_a_rejection_is_no_attempt() -> None:
    """An open circuit at the start is raised at once, with no attempt counted."""
    error, now = refused(ScriptedTransport(CircuitOpenError("open", retry_after=3)), CircuitOpenError)
    assert (error.attempts, error.trace, now) == (0, (), 0.0)


def test_a_rejection_in_the_loop_ends_it_with_the_last_real_error() -> None:
    """A circuit that opens between attempts ends the loop; the trace notes the rejection."""
    opened = CircuitOpenError("open", retry_after=3)
    error, _ = refused(ScriptedTransport(BUSY, opened), ModelOverloadedError)
    assert error is BUSY
    assert error.attempts == 1
    assert [attempt.error for attempt in error.trace] == [BUSY, opened]
    assert "CIRCUIT_OPEN" in str(error)
    BUSY.__notes__.clear()


def test_a_full_queue_is_not_retried() -> None:
    """LIMIT_EXCEEDED is raised at once."""
    transport = ScriptedTransport(LimitExceededError("queue full"))
    refused(transport, LimitExceededError)
    assert len(transport.requests) == 1


def test_a_loading_model_is_waited_for() -> None:
    """A model that loads for a minute is polled each second, whatever `max_retries` says."""
    transport = ScriptedTransport(*[ModelLoadingError("loading")] * 60, "Hello")
    done, now = ask(transport, max_retries=0)
    assert (done.text, now) == ("Hello", 60.0)


def test_a_cancelled_wait_sends_nothing_more() -> None:
    """Cancelling during back-off ends the call with no further request."""

    async def scenario() -> None:
        transport = ScriptedTransport(BUSY)
        call = asyncio.ensure_future(pipeline(transport)(ASK))
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(100)
        assert len(transport.requests) == 1

    run_virtual(scenario())


def test_observers_are_told_of_attempts_and_waits() -> None:
    """Each failed attempt, each wait and the last attempt are told in order."""
    notices = []
    ask(ScriptedTransport(BUSY, "Hello"), attrs.evolve(ASK, observers=(notices.append,)))
    kinds = [type(notice) for notice in notices if isinstance(notice, Attempt | Waiting)]
    assert kinds == [Attempt, Waiting, Attempt]


def test_a_dead_backend_is_reached_at_most_1100_times_by_1000_calls() -> None:
    """The budget bounds the retries: 1,000 failing calls make 1,035 requests, and say why they gave up."""

    async def scenario() -> None:
        transport = ScriptedTransport(BUSY)
        stage = pipeline(transport)
        errors = await asyncio.gather(*(stage(ASK) for _ in range(1000)), return_exceptions=True)
        assert all(isinstance(error, ModelOverloadedError) for error in errors)
        assert len(transport.requests) == 1035

    run_virtual(scenario())
    assert any("budget" in note for note in BUSY.__notes__)
    BUSY.__notes__.clear()


def test_successes_earn_retries() -> None:
    """A retry that succeeds gives its cost back; a first-try success adds one token."""
    budget = RetryBudget()
    ask(ScriptedTransport(BUSY, "Hello"), budget=budget)
    assert budget.tokens("") == 500
    refused(ScriptedTransport(BUSY), ModelOverloadedError, budget=budget, max_retries=1)
    assert budget.tokens("") == 486
    ask(ScriptedTransport("Hello"), budget=budget)
    assert budget.tokens("") == 487


def test_a_stream_that_breaks_gives_no_refund() -> None:
    """Only a completed answer pays back what its retry cost."""
    budget = RetryBudget()
    refused(ScriptedTransport(BUSY, [TextDelta("a"), BUSY]), ModelOverloadedError, STREAM, budget=budget)
    assert budget.tokens("") == 486


def test_without_a_budget_every_call_may_retry() -> None:
    """`budget=None` leaves `max_retries` as the only bound."""
    transport = ScriptedTransport(BUSY)

    async def scenario() -> None:
        stage = pipeline(transport, budget=None)
        await asyncio.gather(*(stage(ASK) for _ in range(100)), return_exceptions=True)

    run_virtual(scenario())
    assert len(transport.requests) == 400


def test_decorrelated_jitter_is_a_schedule() -> None:
    """`decorrelated_jitter` gives waits between its base and its cap, repeatable by seed."""
    times = {
        refused(
            ScriptedTransport(BUSY),
            ModelOverloadedError,
            wait=decorrelated_jitter(1.0, 4.0, random.Random(7)),
        )[1]
        for _ in range(3)
    }
    assert len(times) == 1
    assert 3.0 <= times.pop() <= 12.0


def test_jitter_is_repeatable_by_seed() -> None:
    """Two stages with equally seeded generators wait equally long with full jitter."""
    times = {
        refused(
            ScriptedTransport(BUSY), ModelOverloadedError, jitter=backoff.full_jitter, rng=random.Random(3)
        )[1]
        for _ in range(2)
    }
    assert len(times) == 1
    assert 0 < times.pop() < 3.5


def test_a_response_left_early_costs_nothing() -> None:
    """A caller who leaves a stream is no failure: nothing is repeated."""

    async def scenario() -> None:
        transport = ScriptedTransport([TextDelta("a"), TextDelta("b"), Finish("stop")])
        response = await pipeline(transport)(STREAM)
        response.close()
        assert len(transport.requests) == 1
        assert transport.open_bodies == 0

    run_virtual(scenario())


def test_single_cells_of_the_table_can_be_overridden() -> None:
    """A table of one's own decides what is retried, where the single error does not."""
    outcomes = override(
        OUTCOMES, {ErrorCode.MODEL_AUTH: {"retry": True}, ErrorCode.MODEL_OVERLOADED: {"retry": False}}
    )
    done, _ = ask(ScriptedTransport(ModelAuthError("key not active yet"), "Hello"), outcomes=outcomes)
    assert done.attempts == 2
    error, _ = refused(
        ScriptedTransport(ModelOverloadedError("busy")), ModelOverloadedError, outcomes=outcomes
    )
    assert error.attempts == 1


def test_a_request_that_says_so_does_not_wait_long() -> None:
    """`max_wait` in its extensions: a server that asks for more is taken at its word at once."""
    transport = ScriptedTransport(ModelRateLimitedError("slow down", retry_after=5.0), "Hello")
    error, now = refused(transport, ModelRateLimitedError, attrs.evolve(ASK, extensions={"max_wait": 1.0}))
    assert (now, error.attempts, "another way" in str(error)) == (0.0, 1, True)
