"""Connections that finish their bodies late are reused, and nobody waits for those that never do."""

from __future__ import annotations

import asyncio

import pytest
from transports.answers import STREAM, delta, stop

from resilient_llm.events import Finish
from resilient_llm.transports import drains


def lagging(seconds):
    async def script(_request, wire):
        await wire.stream(delta("a"), stop())
        await asyncio.sleep(seconds)
        await wire.send(b"0\r\n\r\n")

    return script


async def endless(_request, wire):
    await wire.stream(delta("a"), stop())
    await wire.gone()


async def read(transport):
    async with await transport(STREAM) as response:
        return [event async for event in response]


async def test_streams_that_end_late_share_one_connection(serve, connect):
    """Twenty streams in sequence, each with its last chunk 150 ms late, use one TCP connection."""
    server = await serve(lagging(0.15))
    transport = connect(server)
    for _ in range(20):
        assert (await read(transport))[-1] == Finish("stop")
    assert server.connections == 1


async def test_the_last_event_does_not_wait_for_the_last_chunk(serve, connect):
    """The caller has its answer at the end marker, however late the body ends."""
    transport = connect(await serve(lagging(0.4)))
    async with asyncio.timeout(0.3):
        await read(transport)


async def test_a_body_that_never_ends_is_given_up(serve, connect, monkeypatch):
    """After the drain's time the connection is dropped and the next call gets a new one."""
    monkeypatch.setattr(drains, "DRAIN_SECONDS", 0.05)
    server = await serve(endless)
    transport = connect(server)
    await read(transport)
    await server.all_closed()
    await read(transport)
    assert server.connections == 2


async def test_nobody_waits_twice_for_a_server_that_never_ends_its_bodies(serve, connect, monkeypatch):
    """Once a drain was in vain, later calls open a connection at once."""
    monkeypatch.setattr(drains, "DRAIN_SECONDS", 0.2)
    transport = connect(await serve(endless))
    await read(transport)
    await read(transport)  # waits for the first drain, in vain
    async with asyncio.timeout(0.15):
        await read(transport)


async def test_each_drain_serves_one_waiting_call(serve, connect):
    """Calls beyond the number of drains do not queue up behind them."""
    server = await serve(lagging(0.15))
    transport = connect(server)
    await read(transport)
    waiting = asyncio.create_task(read(transport))
    await asyncio.sleep(0)
    async with asyncio.timeout(0.1):
        await read(transport)
    await waiting
    assert server.connections == 2


async def test_a_call_cancelled_while_it_waits_leaves_the_drain_to_its_end(serve, connect):
    """The connection comes back all the same, and the next call uses it."""
    server = await serve(lagging(0.1))
    transport = connect(server)
    await read(transport)
    waiting = asyncio.create_task(transport(STREAM))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0.15)
    await read(transport)
    assert server.connections == 1


async def test_closing_the_transport_gives_up_its_drains(serve, connect):
    """`aclose()` does not wait for a server that never ends."""
    server = await serve(endless)
    transport = connect(server)
    await read(transport)
    assert len((await transport._sessions.pool()).drains) == 1
    async with asyncio.timeout(0.3):
        await transport.aclose()
    await server.all_closed()


@pytest.mark.parametrize("lag", [0.0, 0.05])
async def test_nobody_waits_for_a_connection_that_breaks_after_the_answer(serve, connect, monkeypatch, lag):
    """An answer is complete at its end marker: if the connection ends then, without a last chunk, another is opened."""

    async def script(_request, wire):
        await wire.stream(delta("a"), stop())
        await asyncio.sleep(lag)
        wire.writer.close()

    monkeypatch.setattr(drains, "DRAIN_SECONDS", 60.0)
    server = await serve(script)
    transport = connect(server)
    async with asyncio.timeout(30.0):
        for _ in range(3):
            assert (await read(transport))[-1] == Finish("stop")
    assert server.connections == 3
