"""Requests with a small body are written at once; what is sent is what aiohttp sends."""

from __future__ import annotations

import aiohttp
import pytest
from transports.answers import CHAT, answer

from resilient_llm.models import Request
from resilient_llm.transports import request as sending
from resilient_llm.transports.request import AT_ONCE, request_class


async def fine(_request, wire):
    await wire.answer(answer())


async def body_in_pieces():
    yield b"one"
    yield b"two"


REQUESTS = {
    "small": {"data": b"{}"},
    "nothing": {"data": b""},
    "at the bound": {"data": b"x" * AT_ONCE},
    "large": {"data": b"x" * 300_000},
    "no body": {},
    "text": {"data": "Käse"},
    "fields": {"data": {"a": "1"}},
    "headers": {"data": b"{}", "headers": {"content-type": "application/json", "x-id": "1"}},
    "other length": {"data": b"{} and more", "headers": {"content-length": "2"}},
    "compressed": {"data": b"x" * 1000, "compress": "deflate"},
    "cookies": {"data": b"{}", "cookies": {"a": "1"}},
}


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("options", REQUESTS.values(), ids=REQUESTS)
async def test_what_is_sent_is_what_aiohttp_sends(serve, method, options):
    """Head and body, on the same connection, twice."""
    server = await serve(raw)
    for kind in (aiohttp.ClientRequest, sending._Request):
        connector = aiohttp.TCPConnector()
        async with aiohttp.ClientSession(connector=connector, request_class=kind) as session:
            for _ in range(2):
                async with session.request(method, f"{server.url}/a?b=c", **options) as response:
                    assert await response.read() == b"{}"
    first, second, third, fourth = server.requests
    assert first == second == third == fourth
    assert server.connections == 2


async def raw(request, wire):
    """Answer, whatever has come."""
    if request.headers.get("transfer-encoding") == "chunked":
        await wire.reader.readuntil(b"0\r\n\r\n")
    await wire.answer(b"{}")


async def test_a_body_in_pieces_is_left_to_aiohttp(serve):
    """Its length is not known beforehand."""
    server = await serve(raw)
    connector = aiohttp.TCPConnector()
    async with (
        aiohttp.ClientSession(connector=connector, request_class=request_class(connector)) as session,
        session.post(server.url, data=body_in_pieces()) as response,
    ):
        assert await response.read() == b"{}"
    assert server.requests[0].headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize(("size", "task"), [(10, False), (AT_ONCE, True)])
async def test_only_large_bodies_need_a_task(serve, connect, monkeypatch, size, task):
    """A server may answer before it has read all of a large one; a small one is in the socket's buffer at once."""
    left_to_aiohttp, unpatched = [], aiohttp.ClientRequest.write_bytes

    async def write_bytes(request, *args):
        left_to_aiohttp.append(request)
        await unpatched(request, *args)

    transport = connect(await serve(fine))
    monkeypatch.setattr(aiohttp.ClientRequest, "write_bytes", write_bytes)
    await transport(Request(messages=[{"role": "user", "content": "x" * size}], model="m"))
    assert len(left_to_aiohttp) == task


@pytest.mark.parametrize("times", [1, 2])
async def test_a_connection_that_closes_before_a_byte_is_written(serve, connect, monkeypatch, times):
    """Another one is used, once."""
    server = await serve(fine)
    transport = connect(server)
    unpatched, closed = sending.StreamWriter.write_headers, []

    async def closing(writer, line, headers):
        if len(closed) < times:
            closed.append(line)
            writer.transport.close()
        await unpatched(writer, line, headers)

    monkeypatch.setattr(sending.StreamWriter, "write_headers", closing)
    if times == 1:
        assert (await (await transport(CHAT)).completion()).text == "Rhine"
        assert len(server.requests) == 1
    else:
        with pytest.raises(aiohttp.ClientOSError, match="Can not write"):
            await transport(CHAT)
        assert not server.requests
    assert len(closed) == times


async def test_a_connector_that_keeps_no_connection_says_so(serve, connect):
    """`Connection: close` is sent, as its owner expects."""
    server = await serve(fine)
    await connect(server, connector=aiohttp.TCPConnector(force_close=True))(CHAT)
    assert server.requests[0].headers["connection"] == "close"


async def test_another_aiohttp_is_left_as_it_is(monkeypatch):
    """What is not as it was written for gets aiohttp's own class."""
    async with aiohttp.TCPConnector() as connector:
        assert issubclass(request_class(connector), aiohttp.ClientRequest)
        monkeypatch.setattr(sending, "_MADE_OF", sending._MADE_OF - {"stream_writer"})
        assert request_class(connector) is aiohttp.ClientRequest
