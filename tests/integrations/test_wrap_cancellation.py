"""Many calls at a time through one wrapped client, cancelled wherever they are."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import openai
import pytest

import resilient_llm as rl
from resilient_llm.testing import Answer, Cut, Reset, Stall, Status, serving

HELLO: Any = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
FAULTS = (
    Answer(),
    Answer(interval=0.002),
    Status("overloaded"),
    Reset(),
    Cut(after=2),
    Stall(after=1),
    Stall(),
)


def _soon() -> Any:
    while True:
        yield 0.01


async def ask(client: openai.AsyncOpenAI, *, stream: bool) -> str:
    if not stream:
        return (await client.chat.completions.create(**HELLO)).choices[0].finish_reason
    async with await client.chat.completions.create(**HELLO, stream=True) as answer:
        return [chunk.choices[0].finish_reason async for chunk in answer if chunk.choices][-1] or ""


async def outcome_of(call: Any) -> str:
    try:
        return str(await call)
    except openai.OpenAIError as error:
        return type(error.llm_error).__name__


@pytest.mark.parametrize("calls", [300, pytest.param(1000, marks=pytest.mark.soak)])
async def test_calls_cancelled_at_random_leave_nothing(calls):
    """No connection, task or permit is left, whatever each call was at, behind whatever failure."""
    draws = random.Random(calls)
    limit = rl.ConcurrencyLimit(40, max_queue=calls)
    breaker = rl.CircuitBreaker(fail_max=9 * calls, minimum_calls=9 * calls)
    with serving(*(draws.choice(FAULTS) for _ in range(4 * calls))) as server:  # its tasks are not ours
        bare = openai.AsyncOpenAI(base_url=server.base_url, api_key="k")
        options: Any = {"first_token_timeout": 0.5, "idle_timeout": 0.5, "attempt_timeout": 0.5}
        async with rl.wrap(
            bare, concurrency=limit, breaker=breaker, wait=_soon, jitter=None, **options
        ) as client:
            before = asyncio.all_tasks()
            tasks = [
                asyncio.create_task(outcome_of(ask(client, stream=number % 2 == 0)))
                for number in range(calls)
            ]
            loop = asyncio.get_running_loop()
            for task in draws.sample(tasks, calls * 4 // 5):
                loop.call_later(0.8 * draws.random(), task.cancel)
            ends = Counter(map(type, await asyncio.gather(*tasks, return_exceptions=True)))
            assert set(ends) <= {str, asyncio.CancelledError}
            assert ends[asyncio.CancelledError] > calls // 3
            server.begin(Answer())
            assert (len(limit._permits._free), len(limit._line)) == (40, 0)
            await left_by(client, before)
            assert await ask(client, stream=True) == "stop"


async def left_by(client: openai.AsyncOpenAI, before: set[asyncio.Task[Any]]) -> None:
    """Wait for what goes on after its call: ends of bodies, for half a second at most."""
    transport: Any = client._client._transport
    pools = [stand_in._sessions.known() for stand_in in transport._sender._stand_ins.values()]
    connectors = [pool.session.connector for pool in pools]
    async with asyncio.timeout(3):
        while any(connector._acquired for connector in connectors) or asyncio.all_tasks() - before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not transport._backend._bodies.open
