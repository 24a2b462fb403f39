"""Answers that aiohttp's parser cannot read: the status in its exceptions is its own, not the backend's."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from resilient_llm.errors import ErrorCode
from resilient_llm.policy.classify_exception import classify_exception

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (HEAD + b'Content-Length: 100\r\n\r\n{"choices":', ErrorCode.MODEL_RESPONSE_INVALID),
        (HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"cho\r\n', ErrorCode.MODEL_RESPONSE_INVALID),
        (b"no HTTP at all\r\n\r\n", ErrorCode.MODEL_UNAVAILABLE),
        (b"\x15\x03\x01\x00\x02\x02\x0a", ErrorCode.MODEL_UNAVAILABLE),
    ],
    ids=["length", "chunks", "text", "TLS alert"],
)
async def test_what_breaks_off_or_is_no_http_is_not_a_400(answer, code):
    """The caller's request was right: the backend is at fault, and another attempt may help."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError) as caught:
            async with session.get(f"http://127.0.0.1:{port}/") as response:
                await response.read()
    error = classify_exception(caught.value)
    assert (error.code, error.status, error.retryable, error.backend_fault) == (code, None, True, True)
