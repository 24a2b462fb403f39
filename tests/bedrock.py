"""Amazon Bedrock's frames, and a loopback server that speaks them; a test scripts its answers, one for each request."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import zlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

from aiohttp import web

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame, by the format's description."""
    head = b"".join(
        bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value
        for name, value in ((name.encode(), value.encode()) for name, value in headers.items())
    )
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return message + struct.pack(">I", zlib.crc32(message))


def chunk(event: dict[str, Any]) -> bytes:
    """An event of Anthropic's in a frame, padded as Bedrock does."""
    coded = base64.b64encode(json.dumps(event).encode()).decode()
    headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, json.dumps({"bytes": coded, "p": "abcdefgh"}).encode())


def exception(kind: str, **detail: Any) -> bytes:
    """A failure in the midst of a stream."""
    headers = {
        ":exception-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return frame(headers, json.dumps(detail).encode())


def message(*pieces: str) -> list[bytes]:
    """The frames of a message whose text comes in these pieces."""
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
    usage = {"input_tokens": 3, "output_tokens": 1}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        for piece in pieces
    ]
    return [
        chunk({"type": "message_start", "message": {**head, "stop_reason": None, "usage": usage}}),
        chunk({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        *map(chunk, deltas),
        chunk({"type": "content_block_stop", "index": 0}),
        chunk(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 2},
            }
        ),
        chunk({"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}}),
    ]


WHOLE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "One two"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}


def whole() -> Script:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(WHOLE)

    return answer


def refused(status: int, kind: str, **headers: str) -> Script:
    """An error as Bedrock answers it."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"message": "not now"}, status=status, headers={"x-amzn-ErrorType": kind, **headers}
        )

    return answer


def streamed(*frames: bytes, cut: bool = False, together: bool = False) -> Script:
    """Frames, each in a write of its own or all in one; then the body ends, or the connection breaks."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/vnd.amazon.eventstream"})
        await response.prepare(request)
        for piece in [b"".join(frames)] if together else frames:
            await response.write(piece)
            await asyncio.sleep(0.002)
        if cut and request.transport is not None:
            request.transport.abort()
        return response

    return answer


class Bedrock(AbstractAsyncContextManager["Bedrock"]):
    """Plays the next script for each request, the last one for all that follow."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = scripts
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.url = ""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        self.requests.append(request)
        return await self.scripts[min(len(self.requests), len(self.scripts)) - 1](request)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
