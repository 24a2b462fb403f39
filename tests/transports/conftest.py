"""A loopback server that does on its sockets exactly what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from resilient_llm.transports import OpenAICompatibleTransport

if TYPE_CHECKING:
    import resilient_llm as rl

OK = b"HTTP/1.1 200 OK\r\n"
SSE_HEAD = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@attrs.frozen
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@attrs.frozen
class Wire:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, value: object, *, status: int = 200, headers: str = "") -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        kind = "" if "content-type" in headers.lower() else "Content-Type: application/json\r\n"
        head = f"HTTP/1.1 {status} X\r\n{kind}{headers}Content-Length: {len(body)}\r\n\r\n"
        await self.send(head.encode() + body)

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def stream(self, *events: object, done: bool = True) -> None:
        """A whole stream but for the terminating chunk."""
        await self.send(SSE_HEAD)
        for event in events:
            await self.event(event)
        if done:
            await self.chunk(b"data: [DONE]\n\n")

    async def event(self, event: object) -> None:
        await self.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    async def gone(self) -> None:
        """Wait until the client has left."""
        with contextlib.suppress(ConnectionError):
            await self.reader.read()

    def reset(self) -> None:
        """End the connection with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Received, Wire], Awaitable[None]]


class Loopback:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Received] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def all_closed(self) -> None:
        """Wait until no client is connected."""
        await until(lambda: not self.open)

    async def received(self, count: int) -> None:
        """Wait until so many requests have come."""
        await until(lambda: len(self.requests) >= count)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        task = asyncio.create_task(self._serve(Wire(reader, writer)))
        self._tasks.add(task)

        def closed(_: object) -> None:  # also if it was cancelled before its first step
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

        task.add_done_callback(closed)

    async def _serve(self, wire: Wire) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._requests(wire)

    async def _requests(self, wire: Wire) -> None:
        while True:
            head = (await wire.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
            body = await wire.reader.readexactly(int(headers.get("content-length", 0)))
            method, target, _ = first.split(" ")
            request = Received(method, target, headers, body)
            self.requests.append(request)
            await self.script(request, wire)
            if wire.writer.is_closing():
                return


SOON = {"initial_backoff": 0.01}


async def ask(llm: rl.AsyncClient, stream: bool, prompt: Any = "Hello", **options: Any) -> rl.Completion:
    """Ask, whole or as a stream, with waits that are short."""
    options = {**SOON, **options}
    if not stream:
        return await llm.complete(prompt, **options)
    async with llm.stream(prompt, **options) as response:
        return await response.completion()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until sockets have done what they are about to do."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the kernel
            await asyncio.sleep(0.005)


@pytest.fixture
async def serve():
    """Start a server for a script; stopped when the test ends."""
    servers: list[Loopback] = []

    async def start(script: Script) -> Loopback:
        server = Loopback(script)
        await server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def connect():
    """A transport for a server; closed when the test ends."""
    transports = []

    def make(server, kind=OpenAICompatibleTransport, **options):
        transports.append(kind(base_url=server.url, **options))
        return transports[-1]

    yield make
    for transport in transports:
        await transport.aclose()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No variable of this machine changes a test."""
    for name in list(os.environ):
        if name.startswith(
            ("OPENAI_", "AZURE_OPENAI_", "ANTHROPIC_", "LMSTUDIO_", "LM_API_")
        ) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
