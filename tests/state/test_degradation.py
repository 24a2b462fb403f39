"""Whatever Redis does: calls go on, nobody waits long, one warning, and it returns by itself."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import weakref
from typing import TYPE_CHECKING

import pytest
import redis
from redis_server import RedisServer
from slow_line import SlowLine

import resilient_llm as rl
from resilient_llm.testing import ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONGEST = 0.05
SLACK = 0.25
"""Seconds that a busy machine adds to any measurement of one's own."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as made:
        yield made


async def until(check: Callable[[], object], seconds: float = 10.0) -> float:
    begun = time.monotonic()
    while not check():
        assert time.monotonic() - begun < seconds
        await asyncio.sleep(0.005)
    return time.monotonic() - begun


def client(state: rl.State) -> rl.AsyncClient:
    """With a limit of its own so large that it never holds back, so that each call may have to ask."""
    return rl.AsyncClient(
        transport=ScriptedTransport("yes"),
        model="m",
        state=state,
        rate_limit=rl.RateLimit(requests_per_minute=6000),
    )


async def calls(llm: rl.AsyncClient, seconds: float) -> float:
    """Call all the while; the longest."""
    longest, ending = 0.0, time.monotonic() + seconds
    while (begun := time.monotonic()) < ending:
        assert (await llm.complete("Hello")).text == "yes"
        longest = max(longest, time.monotonic() - begun)
        await asyncio.sleep(0.01)
    return longest


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("llm.state")]
    return [line.split("redis=")[1].split(" ")[0] for line in lines]


async def agreed(one: rl.State, other: rl.State, name: str) -> None:
    """News go from one to the other again."""
    heard: list[rl.State] = []

    class Ear:
        def hear(self, news: object) -> None:
            heard.append(one)

        def recall(self) -> None:
            pass

    ear = Ear()
    other.listen(f"cool|{name}|", ear.hear, ear.recall)
    await until(lambda: not one.alone and not other.alone, 5.0)
    one.tell("cool", f"cool|{name}|m", 1.0)
    await until(lambda: heard, 2.0)


@pytest.mark.parametrize("what", ["frozen", "killed", "slow", "garbage", "full"])
async def test_calls_go_on_and_it_returns(
    server: RedisServer, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Frozen, killed and restarted empty, 200 ms away, talking nonsense, out of memory."""
    caplog.set_level(logging.INFO, "resilient_llm")
    async with SlowLine(server.port) as line:
        states = [rl.RedisState(f"redis://127.0.0.1:{line.port}", "n") for _ in range(2)]
        async with client(states[0]) as a, client(states[1]) as b:
            await asyncio.gather(a.complete("Hello"), b.complete("Hello"))
            await agreed(states[0], states[1], "before")
            caplog.clear()
            break_it(what, server, line)
            longest = max(await asyncio.gather(calls(a, 0.8), calls(b, 0.8)))
            assert longest < LONGEST + SLACK
            assert states[0].alone
            assert states[1].alone
            assert told(caplog).count("lost") - told(caplog).count("back") == 2
            mend_it(what, server, line)
            waited = await until(lambda: not states[0].alone and not states[1].alone)
            assert waited < 2.0 + SLACK
            await agreed(states[0], states[1], "after")
            assert told(caplog).count("back") >= 2


def break_it(what: str, server: RedisServer, line: SlowLine) -> None:
    if what == "frozen":
        server.stop()
    elif what == "killed":
        server.kill()
    elif what == "slow":
        line.delay = 0.2
    elif what == "garbage":
        line.garbage = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    else:
        server.say("CONFIG", "SET", "maxmemory", "1")


def mend_it(what: str, server: RedisServer, line: SlowLine) -> None:
    line.delay, line.garbage = 0.0, b""
    if what == "frozen":
        server.go()
    elif what == "killed":
        server.start()
    elif what == "full":
        server.say("CONFIG", "SET", "maxmemory", "0")


async def test_nobody_there_at_all(unused_tcp_port: int, caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that never was: each call goes its way, the first after 40 ms at most, and one line says so."""
    state = rl.RedisState(f"redis://127.0.0.1:{unused_tcp_port}", "n")
    async with client(state) as llm:
        await calls(llm, 0.1)
        assert await calls(llm, 0.4) < LONGEST + SLACK
    assert told(caplog) == ["lost"]


def test_loops_that_have_ended_are_let_go(unused_tcp_port: int) -> None:
    """A program that runs one loop after the other, and closes nothing, keeps what belongs to the last one alone."""
    state = rl.RedisState(f"redis://127.0.0.1:{unused_tcp_port}", "n")
    store = state.cache_store()
    loops = []

    async def use() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await state.ready()
        with pytest.raises(redis.ConnectionError):
            await store.get("key")

    for _ in range(3):
        asyncio.run(use())
    gc.collect()
    assert [loop() is not None for loop in loops] == [False, False, True]


async def test_open_circuits_and_cool_downs_outlive_an_empty_restart(server: RedisServer) -> None:
    """Who knows of them tells them again, so that who comes later hears of them."""
    state = rl.RedisState(server.url, "n")
    limited = rl.ModelRateLimitedError("slow down", backend="scripted", retry_after=30.0)
    breaker = rl.CircuitBreaker(timeout_duration=30.0)
    async with rl.AsyncClient(
        transport=ScriptedTransport(limited), model="m", state=state, max_retries=0, breaker=breaker
    ) as llm:
        await until(lambda: not state.alone) if not await _ready(state) else None
        with pytest.raises(rl.ModelRateLimitedError):
            await llm.complete("Hello")
        breaker.force_open("m")
        server.kill()
        await until(lambda: state.alone)
        server.start()
        await until(lambda: not state.alone)
        await until(lambda: server.say("HLEN", "{n}:book") == b":2\r\n")
        later = rl.RedisState(server.url, "n")
        async with rl.AsyncClient(transport=ScriptedTransport("yes"), model="m", state=later) as other:
            await later.ready()
            await until(lambda: not later.alone)
            with pytest.raises(rl.CircuitOpenError):
                await other.complete("Hello")


async def _ready(state: rl.State) -> bool:
    await state.ready()
    return not state.alone


def test_a_second_event_loop_connects_anew(server: RedisServer) -> None:
    """One state serves one `asyncio.run` after the other, closed or not."""
    state = rl.RedisState(server.url, "n")

    async def once(*, close: bool) -> None:
        await state.ready()
        await until(lambda: not state.alone)
        if close:
            await state.aclose()

    for close in (True, False, True):
        asyncio.run(once(close=close))
    assert state.alone
