"""What clients that share a state have in common: circuits, cool-downs, retry budgets, limits, stored answers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

import resilient_llm as rl
from resilient_llm.policy import fleet
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_server import RedisServer


def pair(
    one: rl.State, other: rl.State, first: ScriptedTransport, second: ScriptedTransport, **options: Any
) -> tuple[rl.AsyncClient, rl.AsyncClient]:
    """Two clients of the same backend, as two processes have them."""
    return tuple(  # type: ignore[return-value]
        rl.AsyncClient(
            transport=transport,
            model="m",
            state=state,
            breaker=rl.CircuitBreaker(fail_max=2, timeout_duration=0.2, jitter=0),
            **{"max_retries": 0, **options},
        )
        for state, transport in ((one, first), (other, second))
    )


DOWN = rl.ModelUnavailableError("down", backend="scripted")


async def connected(*states: rl.State) -> None:
    """However busy the machine is."""
    for state in states:
        await state.ready()
        ending = time.monotonic() + 10
        while state.alone and time.monotonic() < ending:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def soon(check: Callable[[], object]) -> None:
    ending = time.monotonic() + 5
    while not check():
        assert time.monotonic() < ending
        await asyncio.sleep(0.005)


async def outcome(llm: rl.AsyncClient) -> str:
    try:
        return (await llm.complete("Hello")).text
    except rl.LLMError as error:
        return str(error.code)


async def comes_to(llm: rl.AsyncClient, wanted: str) -> None:
    """Call until the news have come."""
    async with asyncio.timeout(5):
        while await outcome(llm) != wanted:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def test_a_circuit_opened_by_one_is_open_for_the_other(
    redis_server: RedisServer, namespace: str
) -> None:
    """It opens, one probe is claimed, and its success closes it for both."""
    backends = (
        ScriptedTransport(DOWN, DOWN, [0.5, rl.TextDelta("yes"), rl.Finish("stop")]),
        ScriptedTransport("yes"),
    )
    states = rl.RedisState(redis_server.url, namespace), rl.RedisState(redis_server.url, namespace)
    a, b = pair(*states, *backends)
    async with a, b:
        await connected(*states)
        assert await outcome(b) == "yes"
        assert [await outcome(a), await outcome(a)] == ["MODEL_UNAVAILABLE"] * 2
        await comes_to(b, "CIRCUIT_OPEN")
        asked = len(backends[1].requests)
        await asyncio.sleep(0.25)
        probing = asyncio.create_task(outcome(a))
        await soon(lambda: len(backends[0].requests) == 3)
        assert await outcome(b) == "CIRCUIT_OPEN"
        assert await probing == "yes"
        await comes_to(b, "yes")
    assert (len(backends[0].requests), len(backends[1].requests)) == (3, asked + 1)


async def test_a_probe_that_is_abandoned_goes_to_the_other(redis_server: RedisServer, namespace: str) -> None:
    """A cancelled probe gives its place back over Redis."""
    slow = [0.5, rl.TextDelta("late"), rl.Finish("stop")]
    backends = ScriptedTransport(DOWN, DOWN, slow), ScriptedTransport("yes")
    states = rl.RedisState(redis_server.url, namespace), rl.RedisState(redis_server.url, namespace)
    a, b = pair(*states, *backends)
    async with a, b:
        await connected(*states)
        assert await outcome(b) == "yes"
        assert [await outcome(a), await outcome(a)] == ["MODEL_UNAVAILABLE"] * 2
        await asyncio.sleep(0.25)
        probing = asyncio.create_task(outcome(a))
        await asyncio.sleep(0.05)
        probing.cancel()
        await asyncio.wait([probing])
        await asyncio.sleep(0.03)
        assert await outcome(b) == "yes"


async def test_who_comes_later_knows_what_the_others_know(redis_server: RedisServer, namespace: str) -> None:
    """A process that starts during a cool-down keeps it from its first call on."""
    limited = rl.ModelRateLimitedError("slow down", backend="scripted", retry_after=20.0)
    backends = ScriptedTransport(limited), ScriptedTransport("yes")
    states = rl.RedisState(redis_server.url, namespace), rl.RedisState(redis_server.url, namespace)
    a, b = pair(*states, *backends, deadline=5.0)
    async with a:
        await connected(states[0])
        assert await outcome(a) == "MODEL_RATE_LIMITED"
    async with b:
        await connected(states[1])
        assert await outcome(b) == "LIMIT_EXCEEDED"
    assert not backends[1].requests


async def test_a_retry_budget_is_one(redis_server: RedisServer, namespace: str) -> None:
    """What one spends is missing for the other."""
    budgets = rl.RetryBudget(capacity=28), rl.RetryBudget(capacity=28)
    states = rl.RedisState(redis_server.url, namespace), rl.RedisState(redis_server.url, namespace)
    stages = [rl.Retry(budget=budget) for budget in budgets]
    for stage, state in zip(stages, states, strict=True):
        stage.share(state, "s")
        await connected(state)
    assert budgets[0].withdraw("m", DOWN) == 14
    await soon(lambda: budgets[1].tokens("m") == 14)
    budgets[1].deposit("m", 4)
    await soon(lambda: budgets[0].tokens("m") == 18)
    for state in states:
        await state.aclose()


async def test_a_stored_answer_is_for_all(redis_server: RedisServer, namespace: str) -> None:
    """What one has bought, the other gets."""
    backends = ScriptedTransport("yes"), ScriptedTransport("no")
    for transport, cached in zip(backends, (False, True), strict=True):
        store = rl.RedisState(redis_server.url, namespace).cache_store()
        async with rl.AsyncClient(transport=transport, model="m", cache=rl.Cache(store=store)) as llm:
            done = await llm.complete("Hello", temperature=0)
            assert (done.text, done.cached) == ("yes", cached)
        await store.aclose()


async def test_a_healthy_call_asks_nothing(redis_server: RedisServer, namespace: str) -> None:
    """Without limits of one's own no call costs a round trip; with one, at most one."""
    state = rl.RedisState(redis_server.url, namespace)
    async with rl.AsyncClient(transport=ScriptedTransport("yes"), model="m", state=state) as llm:
        await connected(state)
        await llm.complete("Hello")
        before = scripts_run(redis_server)
        begun = time.monotonic()
        for _ in range(50):
            await llm.complete("Hello")
        assert scripts_run(redis_server) - before <= 1 + (time.monotonic() - begun) / 0.25
    limit = rl.RateLimit(requests_per_minute=60_000)
    async with rl.AsyncClient(
        transport=ScriptedTransport("yes"), model="m", state=state, rate_limit=limit
    ) as llm:
        await connected(state)
        await llm.complete("Hello")
        before = scripts_run(redis_server)
        for _ in range(50):
            await llm.complete("Hello")
        assert scripts_run(redis_server) - before <= 25


def scripts_run(server: RedisServer) -> int:
    text = server.say("INFO", "commandstats").decode()
    return int(text.split("cmdstat_evalsha:calls=")[1].split(",")[0])


def test_clients_of_one_process_share_a_memory_state() -> None:
    """The limit holds over both, as a window; in virtual time."""

    async def main() -> list[float]:
        clock = FakeClock()
        state = rl.MemoryState(clock=clock)
        times: list[float] = []

        async def call(llm: rl.AsyncClient) -> None:
            for _ in range(30):
                await llm.complete("Hello", deadline=None)
                times.append(clock.monotonic())

        limits = [rl.RateLimit(requests_per_minute=20, clock=clock) for _ in range(2)]
        a, b = (
            rl.AsyncClient(
                transport=ScriptedTransport("yes"),
                model="m",
                state=state,
                clock=clock,
                rate_limit=limit,
                deadline=None,
            )
            for limit in limits
        )
        async with a, b:
            await asyncio.gather(call(a), call(b))
        return times

    times = run_virtual(main())
    assert len(times) == 60
    assert max(sum(1 for time in times if first <= time < first + 60) for first in times) == 20
    assert 121 <= times[-1] <= 128


@pytest.mark.parametrize("namespace", ["", "a{b"])
def test_a_wrong_namespace_is_refused(namespace: str) -> None:
    """With what would do."""
    with pytest.raises(ValueError, match="must be a text without braces"):
        rl.RedisState("redis://localhost", namespace)


def test_a_state_does_not_show_its_password() -> None:
    """Neither does its store."""
    state = rl.RedisState("redis://user:secret@localhost", "n")
    assert "secret" not in f"{state!r}{state.cache_store()!r}"
    with pytest.raises(ValueError, match="scheme"):
        rl.RedisState("localhost")


async def test_a_report_that_was_lost_is_made_again(redis_server: RedisServer, namespace: str) -> None:
    """A process that hears that its own probe is still waited for says again what came of it."""
    states = rl.RedisState(redis_server.url, namespace), rl.RedisState(redis_server.url, namespace)
    breakers = [rl.CircuitBreaker(fail_max=1, timeout_duration=0.1, jitter=0) for _ in states]
    backends = ScriptedTransport(DOWN, "yes"), ScriptedTransport("yes")
    a, b = (
        rl.AsyncClient(transport=transport, model="m", state=state, breaker=breaker, max_retries=0)
        for transport, state, breaker in zip(backends, states, breakers, strict=True)
    )
    async with a, b:
        await connected(*states)
        assert await outcome(a) == "MODEL_UNAVAILABLE"
        await soon(lambda: breakers[1].circuit("m").state == "open")
        await asyncio.sleep(0.15)
        links = list(states[0]._links.values())
        tell, states[0].tell = states[0].tell, lambda *_: None  # type: ignore[method-assign] # lost
        assert await outcome(a) == "yes"
        states[0].tell = tell  # type: ignore[method-assign]
        assert await outcome(b) == "CIRCUIT_OPEN"
        links[0]._lost("tried")
        await soon(lambda: breakers[1].circuit("m").state == "closed")
        assert await outcome(b) == "yes"


async def test_what_is_kept_beside_a_shared_state_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys without end, of a `key=` of one's own: the oldest are forgotten, as circuits and gates are."""
    monkeypatch.setattr(fleet, "MAX_RECORDS", 3)
    state, clock = rl.MemoryState(clock=FakeClock()), FakeClock()
    breaker, limit = rl.CircuitBreaker(clock=clock), rl.RateLimit(clock=clock)
    for stage in (breaker, limit):
        stage.share(state, "s")
    for number in range(10):
        breaker.force_open(number)
        limit._shared.cooling(number, 1.0)
    kept = (breaker._shared._keys, breaker._shared._last, limit._shared._keys)
    assert [len(known) for known in kept] == [3, 3, 3]
    assert list(breaker._shared._keys) == ["7", "8", "9"]


async def test_a_client_that_is_closed_leaves_no_connection(redis_server: RedisServer) -> None:
    """Neither the state's nor that of stored answers; who uses them again connects again."""
    state = rl.RedisState(redis_server.url, "closing")
    store = state.cache_store()

    def connections() -> int:
        return redis_server.say("CLIENT", "LIST").count(b"id=") - 1  # which asks

    before = connections()
    for cached in (False, True):
        backend = ScriptedTransport("Hello!")
        async with rl.AsyncClient(
            transport=backend, model="m", state=state, cache=rl.Cache(store=store)
        ) as llm:
            await connected(state)
            assert (await llm.complete("Hello", temperature=0)).cached is cached
        assert connections() == before
