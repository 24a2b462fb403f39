"""The matrix: each stage, left in each way, leaks nothing."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import attrs
import pytest

from resilient_llm.errors import CircuitOpenError, ModelUnavailableError
from resilient_llm.events import Finish, TextDelta, ToolCallDelta
from resilient_llm.fallback import Fallback
from resilient_llm.middleware import (
    AttemptTimeout,
    CircuitBreaker,
    ConcurrencyLimit,
    Deadline,
    ErrorClassifier,
    Logging,
    RateLimit,
    Retry,
    StreamRecovery,
    TokenBudget,
)
from resilient_llm.middleware.cache import Cache
from resilient_llm.middleware.coalesce import Coalesce
from resilient_llm.middleware.telemetry import Telemetry
from resilient_llm.models import Request
from resilient_llm.pipeline import Middleware, Pipeline
from resilient_llm.presets import standard_stack
from resilient_llm.response import OutcomeKind, Response
from resilient_llm.testing import Answer, FakeClock, FaultInjection, ScriptedTransport, run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STREAM = Request(messages=({"role": "user", "content": "Hello"},), stream=True)
SLOW = [1.0, ToolCallDelta(0, "c", "f", "{}"), 1.0, TextDelta("a"), 1.0, TextDelta("b"), 1.0, Finish("stop")]

STACKS: dict[str, Callable[[FakeClock], list[Middleware]]] = {
    "none": lambda clock: [],
    "logging": lambda clock: [Logging(clock=clock)],
    "telemetry": lambda clock: [Telemetry(clock=clock)],
    "deadline": lambda clock: [Deadline(600, clock=clock)],
    "token budget": lambda clock: [TokenBudget(context_window=1000)],
    "retry": lambda clock: [Retry(clock=clock)],
    "recovery": lambda clock: [StreamRecovery("restart"), Retry(clock=clock)],
    "breaker": lambda clock: [CircuitBreaker(clock=clock)],
    "peek and breaker": lambda clock: [(breaker := CircuitBreaker(clock=clock)).peek, breaker],
    "rate limit": lambda clock: [RateLimit(clock=clock)],
    "rate limit of one's own": lambda clock: [
        RateLimit(requests_per_minute=2, tokens_per_minute=10_000, clock=clock)
    ],
    "concurrency": lambda clock: [ConcurrencyLimit(1, clock=clock)],
    "attempt timeout": lambda clock: [AttemptTimeout(clock=clock)],
    "fallback": lambda clock: [Fallback([ScriptedTransport("no")], clock=clock)],
    "cache": lambda clock: [Cache(when=lambda _: True, clock=clock)],
    "coalesce": lambda clock: [Coalesce(clock=clock)],
    "classifier": lambda clock: [ErrorClassifier(clock=clock)],
    "fault injection": lambda clock: [FaultInjection(script=[Answer()], latency=0.2, clock=clock)],
    "standard": lambda clock: standard_stack(clock=clock),
    "with limits": lambda clock: standard_stack(
        clock=clock, rate_limit=RateLimit(requests_per_minute=2, clock=clock), concurrency=1
    ),
    "with a fallback": lambda clock: standard_stack(clock=clock, fallback=[ScriptedTransport("no")]),
}


async def cancelled_while(seconds: float, call: Awaitable[object]) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.sleep(seconds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def drained(response: Response) -> None:
    async for _ in response:
        pass


async def opening(send) -> None:
    await cancelled_while(0.5, send())


async def opening_with_content_held_back(send) -> None:
    await cancelled_while(1.5, send())


async def streaming(send) -> None:
    response = await send()
    await cancelled_while(0.5, drained(response))
    assert response.outcome.kind is OutcomeKind.ABANDONED


async def early_close(send) -> None:
    async with await send() as response:
        await anext(response)
    assert response.outcome.kind is OutcomeKind.ABANDONED


async def leak(send) -> None:
    response = await send()
    with pytest.warns(ResourceWarning, match="dropped"):  # noqa: PT031 - both drop it
        del response
        gc.collect()


async def caller_error(send) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the caller's block is the point
        async with await send() as response:
            async for _ in response:
                raise ZeroDivisionError


WAYS = (opening, opening_with_content_held_back, streaming, early_close, leak, caller_error)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("stack", STACKS)
def test_no_way_of_leaving_leaks(stack: str, way) -> None:
    """After any way of leaving, no body is open, no task is left, and the next call works."""

    async def scenario() -> None:
        clock = FakeClock()
        transport = ScriptedTransport(SLOW)
        pipeline = Pipeline(STACKS[stack](clock), transport, clock=clock)
        before = asyncio.all_tasks()
        await way(lambda: pipeline(STREAM))
        assert transport.open_bodies == 0
        assert asyncio.all_tasks() == before
        assert len(transport.requests) == 1
        async with await pipeline(STREAM) as response:
            assert (await response.completion()).text == "ab"
        assert transport.open_bodies == 0

    run_virtual(scenario())


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_way_of_leaving_keeps_the_probe(way) -> None:
    """A half-open probe that is left, in whatever way, frees its slot: the next call is the next probe."""

    async def scenario() -> None:
        clock = FakeClock()
        breaker = CircuitBreaker(fail_max=1, timeout_duration=10.0, jitter=0.0, clock=clock)
        down = ScriptedTransport(ModelUnavailableError("down"))
        with pytest.raises(ModelUnavailableError):
            await Pipeline([breaker], down, clock=clock)(STREAM)
        with pytest.raises(CircuitOpenError):
            await Pipeline([breaker], down, clock=clock)(STREAM)
        await asyncio.sleep(10.0)
        transport = ScriptedTransport(SLOW)
        pipeline = Pipeline([breaker], transport, clock=clock)
        await way(lambda: pipeline(STREAM))
        async with await pipeline(STREAM) as response:
            assert (await response.completion()).text == "ab"
        assert len(transport.requests) == 2

    run_virtual(scenario())


def test_cancelled_at_every_suspension_point_of_the_standard_stack() -> None:
    """Cancelling after any number of loop iterations leaves no body, task or probe behind."""

    async def scenario(iterations: int) -> bool:
        clock = FakeClock()
        script = [TextDelta("a"), TextDelta("b"), Finish("stop")]
        down = ModelUnavailableError("down")
        transport, second = ScriptedTransport(down, [0.1, down]), ScriptedTransport([0.1, *script])
        stack = standard_stack(clock=clock, fallback=[second], max_retries=1)
        pipeline = Pipeline(stack, transport, clock=clock)

        async def call() -> str:
            async with await pipeline(attrs.evolve(STREAM)) as response:
                return (await response.completion()).text

        task = asyncio.ensure_future(call())
        for _ in range(iterations):
            await asyncio.sleep(0)
            if not task.done() and iterations > 3:
                await asyncio.sleep(0.05)
        task.cancel()
        finished = (await asyncio.gather(task, return_exceptions=True))[0]
        assert (transport.open_bodies, second.open_bodies) == (0, 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return finished == "ab"

    assert any(run_virtual(scenario(iterations)) for iterations in range(60))
