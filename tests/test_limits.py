"""Rate and concurrency limits in the standard stack, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

import resilient_llm as rl
from resilient_llm.middleware import RateLimit
from resilient_llm.testing import Answer, FaultServer, ScriptedTransport, Status


def client(server: FaultServer, **options) -> rl.AsyncClient:
    return rl.AsyncClient("openai-compatible", base_url=server.base_url, model="m", **options)


class Together:
    """Refuses so many requests when all of them have come, and none before."""

    def __init__(self, number: int, retry_after: float) -> None:
        self.barrier = asyncio.Barrier(number)
        self.refusal = Status.rate_limited(retry_after)

    async def play(self, exchange) -> None:
        async with asyncio.timeout(20):
            await self.barrier.wait()
        await self.refusal.play(exchange)


async def test_a_hundred_callers_and_one_429() -> None:
    """One is told to come back in a second: none of the others goes before, they come spread, and all are served."""
    refused = asyncio.Event()

    def hear(notice: object) -> None:
        if isinstance(notice, rl.Waiting):
            refused.set()

    async def call(llm: rl.AsyncClient, after: float = 0.0) -> None:
        await refused.wait()
        await asyncio.sleep(after)
        await llm.complete("Hello")

    async with (
        FaultServer([Status.rate_limited(1.0), Answer()]) as server,
        client(server, observers=[hear]) as llm,
    ):
        siblings = [call(llm) for _ in range(80)]
        latecomers = [call(llm, after=number / 25) for number in range(20)]
        await asyncio.gather(llm.complete("Hello"), *siblings, *latecomers)
        first, *others = server.requests
    assert first.status == 429
    assert len(others) == 101
    assert sum(request.status == 429 for request in others) <= 1
    at = [request.at - first.at for request in others]
    assert min(at) >= 1.0
    assert max(at) - min(at) >= 0.25  # a hundred draws from 0.3 s


async def test_those_behind_a_concurrency_limit_are_held_back_too() -> None:
    """Who waits for a place while the backend refuses does not run into it one after the other."""
    faults = [*[Together(2, retry_after=0.3)] * 2, Answer()]
    async with FaultServer(faults) as server, client(server, concurrency=2) as llm:
        await asyncio.gather(*(llm.complete("Hello") for _ in range(30)))
        *refused, third = server.requests[:3]
    assert len(server.requests) == 32
    assert third.at - max(request.at for request in refused) >= 0.3


async def test_a_hundred_in_flight_at_a_refusal_are_refused_once_each() -> None:
    """They were sent already; the second time nobody comes too early."""
    faults = [*[Together(100, retry_after=0.5)] * 100, Answer()]
    async with FaultServer(faults) as server, client(server) as llm:
        await asyncio.gather(*(llm.complete("Hello") for _ in range(100)))
    first, second = server.requests[:100], server.requests[100:]
    assert len(second) == 100
    assert min(request.at for request in second) - max(request.at for request in first) >= 0.5


async def test_a_wrapped_client_learns_and_waits_alike() -> None:
    """Headers that came through an SDK teach as well as any."""
    openai = pytest.importorskip("openai")
    told = {
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "20s",
    }
    faults = [Status(status=500, body=b"{}", headers=told), Answer()]
    async with FaultServer(faults) as server:
        sdk = rl.wrap(
            openai.AsyncOpenAI(base_url=server.base_url, api_key="none"), wait=instantly, jitter=None
        )
        async with sdk:
            await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
        first, second = server.requests
    assert 0.2 <= second.at - first.at <= 2.0


def instantly():
    yield 0.0
    while True:
        yield 0.0


async def test_the_standard_stack_has_them_in_their_places() -> None:
    """The rate limit always, the concurrency limit if asked for, then with the second look behind it."""

    def names(**options) -> list[str]:
        stages = rl.standard_stack(**options)
        return [getattr(stage, "__name__", type(stage).__name__) for stage in stages]

    usual = names()
    assert usual[usual.index("peek") + 1 : usual.index("CircuitBreaker")] == ["RateLimit"]
    limited = names(concurrency=4)
    between = limited[limited.index("peek") + 1 : limited.index("CircuitBreaker")]
    assert between == ["RateLimit", "ConcurrencyLimit", "recheck"]
    assert "RateLimit" not in names(rate_limit=None)
    assert "recheck" not in names(rate_limit=None, concurrency=4)
    rl.Pipeline(rl.standard_stack(concurrency=4), ScriptedTransport("Hi"))


async def test_ones_own_limits_are_taken_as_they_are() -> None:
    """And may be shared by several clients; a fallback's targets do not use them."""
    rate, permits = RateLimit(requests_per_minute=60), rl.ConcurrencyLimit(4)
    stack = rl.standard_stack(
        rate_limit=rate, concurrency=permits, fallback=[ScriptedTransport("Hi", name="other")]
    )
    assert rate in stack
    assert permits in stack
    (fallback,) = (stage for stage in stack if isinstance(stage, rl.Fallback))
    theirs = [stage for target in fallback.opened for stage in target.stages]
    assert sum(isinstance(stage, RateLimit) for stage in theirs) == 1
    assert rate not in theirs
    assert not any(isinstance(stage, rl.ConcurrencyLimit) for stage in theirs)


async def test_a_spent_quota_leads_to_the_fallback_at_once() -> None:
    """Asked once, then answered here; the fallback serves, and nobody waits."""
    spent = Status(status=429, body={"error": {"message": "quota", "code": "insufficient_quota"}})
    async with (
        FaultServer([spent]) as server,
        client(server, fallback=[ScriptedTransport("Hi", name="other")]) as llm,
    ):
        for _ in range(5):
            assert (await llm.complete("Hello")).backend == "other"
        assert len(server.requests) == 1
