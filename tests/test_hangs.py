"""Backends that hang, over real sockets: cancelled calls leave nothing behind, and limits are kept to the tenth."""

from __future__ import annotations

import asyncio

import pytest

import resilient_llm as rl
from resilient_llm.testing import Answer, Dribble, FaultServer, KeepAlive, Stall

DIALECTS = ("openai-compatible", "anthropic", "ollama")


def client(dialect: str, server: FaultServer, **options) -> rl.AsyncClient:
    url = server.base_url if dialect == "openai-compatible" else server.url
    key = {} if dialect == "ollama" else {"api_key": "k"}
    return rl.AsyncClient(dialect, base_url=url, model="m", **key, **options)


async def until(condition, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the kernel
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_thirty_cancelled_streams_are_thirty_disconnects(dialect):
    """The server sees each of them leave within a second, and the next call works."""
    async with (
        FaultServer([*[Stall(after=1)] * 30, Answer()]) as server,
        client(dialect, server) as llm,
    ):
        begun = []

        async def read() -> None:
            async with llm.stream("Hello") as response:
                async for event in response:
                    begun.append(event)  # noqa: PERF401 - the stream never ends

        tasks = [asyncio.create_task(read()) for _ in range(30)]
        await until(lambda: len(begun) == 30, 10)
        assert server.open_connections == 30
        for task in tasks:
            task.cancel()
        await until(lambda: not server.open_connections, 1)
        assert [seen.ending for seen in server.requests] == ["left"] * 30
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert (await llm.complete("Hello")).text.endswith("Hello")


async def test_signs_of_life_do_not_feed_the_idle_limit():
    """One piece and then comments, pings or blank lines only: stopped within 1.2 times the limit."""
    limit = 1.0

    async def meet(dialect: str) -> float:
        async with (
            FaultServer(KeepAlive(after=1, every=0.05)) as server,
            client(dialect, server, idle_timeout=limit) as llm,
            llm.stream("Hello") as response,
        ):
            assert await anext(response) == rl.TextDelta("A")
            began = asyncio.get_running_loop().time()
            with pytest.raises(rl.ModelTimeoutError) as caught:
                await anext(response)
            seconds = asyncio.get_running_loop().time() - began
            assert caught.value.partial.text == "A"
            await until(lambda: server.requests[0].ending == "left", 1)
        return seconds

    times = await asyncio.gather(*map(meet, DIALECTS))
    assert limit <= min(times) <= max(times) < 1.2 * limit


async def test_a_deadline_is_kept_whatever_hangs():
    """Two seconds against servers that hang in every way: back within 2.2, and the server sees it."""
    hangs = [Stall(after=None), Stall(after=2), KeepAlive(after=1), Dribble(interval=0.2)]

    async def ask(llm: rl.AsyncClient, *, stream: bool) -> None:
        if not stream:
            await llm.complete("Hello")
        async with llm.stream("Hello") as response:
            await response.completion()

    async def spent(dialect: str, hang, *, stream: bool) -> float:
        async with FaultServer(hang) as server, client(dialect, server, deadline=2.0) as llm:
            began = asyncio.get_running_loop().time()
            with pytest.raises((rl.DeadlineExceededError, rl.ModelTimeoutError)):
                await ask(llm, stream=stream)
            seconds = asyncio.get_running_loop().time() - began
            await until(lambda: not server.open_connections, 1)
        return seconds

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(spent(dialect, hang, stream=stream))
            for dialect in DIALECTS
            for hang in hangs
            for stream in (False, True)
        ]
    times = [task.result() for task in tasks]
    assert min(times) > 1.9
    assert max(times) < 2.2
