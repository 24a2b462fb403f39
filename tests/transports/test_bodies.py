"""Streams over real sockets: how they are read, how they end, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import threading

import aiohttp
import pytest
from transports.answers import STREAM, USAGE, delta, stop

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.events import Finish, TextDelta, UsageEvent
from resilient_llm.response import OutcomeKind
from resilient_llm.transports import reading


def streaming(*events, done=True, then=None):
    async def script(_request, wire):
        await wire.stream(*events, done=done)
        await (wire.send(b"0\r\n\r\n") if then is None else then(wire))

    return script


async def reset(wire):
    await asyncio.sleep(0.02)
    wire.reset()


async def close(wire):
    wire.writer.close()


async def hang(wire):
    await wire.gone()


async def test_a_stream_hands_over_its_events_in_order(serve, connect):
    """Text, usage and Finish arrive in order, and the answer knows its model, backend and id."""
    server = await serve(streaming(delta("a"), delta("b"), stop(), USAGE))
    async with await connect(server)(STREAM) as response:
        events = [event async for event in response]
    assert events[:2] == [TextDelta("a"), TextDelta("b")]
    assert isinstance(events[2], UsageEvent)
    assert events[3] == Finish("stop")
    assert (response.info.model, response.info.backend) == ("m-2", "openai-compatible")
    assert response.info.request_id == "c1"
    assert server.requests[0].json["stream"] is True


async def test_the_first_event_does_not_wait_for_the_second(serve, connect):
    """The call returns with the first text while the server is still writing."""
    go_on = asyncio.Event()

    async def script(_request, wire):
        await wire.stream(delta("a"), done=False)
        await go_on.wait()
        await wire.event(stop())
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.send(b"0\r\n\r\n")

    transport = connect(await serve(script))
    async with asyncio.timeout(2), await transport(STREAM) as response:
        assert await anext(response) == TextDelta("a")
        go_on.set()
        assert [event async for event in response] == [Finish("stop")]


@pytest.mark.parametrize("then", [reset, close], ids=["reset", "closed"])
async def test_an_end_after_the_finish_reason_is_complete(serve, connect, then):
    """Without an end marker, a finish reason and then the end of the connection, clean or not, is an answer."""
    server = await serve(streaming(delta("a"), stop(), done=False, then=then))
    async with await connect(server)(STREAM) as response:
        done = await response.completion()
    assert (done.text, done.finish_reason) == ("a", "stop")


async def test_silence_after_the_finish_reason_is_complete_after_a_while(serve, connect, monkeypatch):
    """A server that neither marks the end nor closes holds up the last event only for a moment."""
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0.05)
    server = await serve(streaming(delta("a"), stop(), done=False, then=hang))
    async with asyncio.timeout(2), await connect(server)(STREAM) as response:
        assert (await response.completion()).finish_reason == "stop"
    await server.all_closed()


async def test_usage_after_the_finish_reason_is_waited_for(serve, connect):
    """What comes late after the finish reason still belongs to the answer."""

    async def late(wire):
        await asyncio.sleep(0.05)
        await wire.event(USAGE)
        await asyncio.sleep(0.02)
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.send(b"0\r\n\r\n")

    server = await serve(streaming(delta("a"), stop(), done=False, then=late))
    async with await connect(server)(STREAM) as response:
        assert (await response.completion()).usage.total_tokens == 5


@pytest.mark.parametrize("then", [reset, close], ids=["reset", "closed"])
async def test_a_stream_that_breaks_off_fails_after_what_came(serve, connect, then):
    """A connection lost in the middle is an error, raised after the events before it."""
    server = await serve(streaming(delta("a"), done=False, then=then))
    async with await connect(server)(STREAM) as response:
        assert await anext(response) == TextDelta("a")
        with pytest.raises(aiohttp.ClientError):
            await anext(response)
    assert response.outcome.kind is OutcomeKind.FAILED


@pytest.mark.parametrize("events", [[delta("b")], [delta("b"), stop()]], ids=["unfinished", "finished"])
async def test_a_slow_reader_loses_nothing_that_came_before_a_reset(serve, connect, events):
    """What had arrived is handed over, then the reset matters, or no more."""

    async def more(wire):
        await asyncio.sleep(0.03)
        for event in events:
            await wire.event(event)
        await reset(wire)

    server = await serve(streaming(delta("a"), done=False, then=more))
    async with await connect(server)(STREAM) as response:
        first = await anext(response)
        await server.all_closed()
        await asyncio.sleep(0.02)
        second = await anext(response)
        if len(events) == 1:
            with pytest.raises(aiohttp.ClientError):
                await anext(response)
        else:
            assert await anext(response) == Finish("stop")
    assert [first, second] == [TextDelta("a"), TextDelta("b")]


async def test_a_stream_that_ends_cleanly_too_early_fails(serve, connect):
    """A body that is whole for HTTP but names no finish reason is no answer."""
    server = await serve(streaming(delta("a"), done=False))
    async with await connect(server)(STREAM) as response:
        with pytest.raises(ModelResponseInvalidError):
            await response.completion()


async def test_an_error_event_is_raised_after_the_text_in_the_same_read(serve, connect):
    """Text and an error in one packet: the text is handed over, then the failure raised with the headers."""
    error = {"error": {"message": "overloaded", "code": 503}}
    server = await serve(streaming(delta("a"), error, done=False))
    async with await connect(server)(STREAM) as response:
        assert await anext(response) == TextDelta("a")
        with pytest.raises(BackendFailure) as caught:
            await anext(response)
    assert caught.value.surface == "stream"
    assert "overloaded" in caught.value.body
    assert caught.value.headers["content-type"] == "text/event-stream"


async def test_a_plain_body_instead_of_a_stream_is_decoded(serve, connect):
    """An error with status 200 and no stream, as LM Studio sends it, is a failure with that body."""

    async def script(_request, wire):
        await wire.answer({"error": "Unexpected endpoint or method. (POST /x)"})

    with pytest.raises(BackendFailure) as caught:
        await connect(await serve(script))(STREAM)
    assert "Unexpected endpoint" in caught.value.body


async def test_a_stream_beyond_the_limit_is_broken_off(serve, connect):
    """A stream of sound events that never ends costs so much memory and no more; what came is kept."""
    seen = asyncio.Event()

    async def script(_request, wire):
        await wire.stream(delta("a"), done=False)
        await seen.wait()
        while True:
            await wire.event(delta("b"))

    server = await serve(script)
    async with asyncio.timeout(5), await connect(server, max_answer_bytes=10_000)(STREAM) as response:
        assert await anext(response) == TextDelta("a")
        seen.set()
        with pytest.raises(ModelResponseInvalidError, match="longer than 10000 bytes") as caught:
            await response.completion()
    assert caught.value.partial.text.startswith("a")
    await server.all_closed()


async def test_a_page_instead_of_a_stream_is_refused(serve, connect):
    """HTML with status 200 is no answer."""

    async def script(_request, wire):
        await wire.answer(b"<html>login</html>", headers="Content-Type: text/html\r\n")

    with pytest.raises((ModelResponseInvalidError, BackendFailure)):
        await connect(await serve(script))(STREAM)


async def test_closing_an_unfinished_stream_drops_the_connection_at_once(serve, connect):
    """The server sees the caller leave, so that it stops generating."""
    server = await serve(streaming(delta("a"), done=False, then=hang))
    response = await connect(server)(STREAM)
    response.close()
    response.close()
    await server.all_closed()
    assert response.outcome.kind is OutcomeKind.ABANDONED


async def test_a_stream_closed_from_another_thread_drops_the_connection(serve, connect):
    """Whoever drops a response in another thread does not touch the loop's sockets from there."""
    server = await serve(streaming(delta("a"), done=False, then=hang))
    response = await connect(server)(STREAM)
    thread = threading.Thread(target=response.close)
    thread.start()
    await asyncio.to_thread(thread.join)
    await server.all_closed()


async def test_a_loop_that_closes_meanwhile_keeps_nobody_from_settling(serve, connect, monkeypatch):
    """Between a thread's look at the loop and its call the loop may close: the accounts are told all the same."""

    class Closing:
        def is_closed(self):
            return False

        def call_soon_threadsafe(self, *_):
            msg = "Event loop is closed"
            raise RuntimeError(msg)

    server = await serve(streaming(delta("a"), done=False, then=hang))
    response = await connect(server)(STREAM)
    told = []
    response.on_settle(told.append)
    with monkeypatch.context() as patched:
        patched.setattr(response._body._pool, "loop", Closing())
        response.close()
    assert [outcome.kind for outcome in told] == [OutcomeKind.ABANDONED]
    response._body.close()
    await server.all_closed()


async def test_cancelled_streams_leak_no_connection(serve, connect):
    """Of thirty streams cancelled while they wait, none keeps its connection."""
    server = await serve(streaming(delta("a"), done=False, then=hang))
    transport = connect(server)

    async def read():
        async with await transport(STREAM) as response:
            async for _ in response:
                pass

    tasks = [asyncio.create_task(read()) for _ in range(30)]
    await server.received(30)
    await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.all_closed()
    pool = await transport._sessions.pool()
    assert server.connections == 30
    assert not pool.session.connector._acquired
    assert not pool.streams


async def test_calls_cancelled_before_the_answer_leak_no_connection(serve, connect):
    """The same while the head of the answer is awaited."""
    server = await serve(lambda _request, wire: wire.gone())
    transport = connect(server)
    tasks = [asyncio.create_task(transport(STREAM)) for _ in range(30)]
    await server.received(30)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.all_closed()
    pool = await transport._sessions.pool()
    assert not pool.session.connector._acquired


async def test_closing_the_transport_breaks_off_its_streams(serve, connect):
    """`aclose()` ends what is left; who still reads gets an error, not silence."""
    server = await serve(streaming(delta("a"), done=False, then=hang))
    transport = connect(server)
    async with await transport(STREAM) as response:
        await anext(response)
        await transport.aclose()
        with pytest.raises(aiohttp.ClientError):
            await anext(response)
    await server.all_closed()
