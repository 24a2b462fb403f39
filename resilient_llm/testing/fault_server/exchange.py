"""One request and its answer on the wire, raw enough to do to it whatever a backend or a network may do."""

from __future__ import annotations

import asyncio
import socket
import struct
from http.client import responses
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .faults import Fault
    from .openai import OpenAIDialect
    from .records import SeenRequest

LINGER_NOT = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends a RST."""

JSON = "application/json"
EVENTS = "text/event-stream"


class ClientLeftError(ConnectionError):
    """The client closed the connection before its answer was at its end."""


@attrs.define(eq=False)
class Exchange:
    """A chat request that is being answered; what a fault has to work with.

    Args:
        request: What was asked; takes note of what happens.
        dialect: How bodies are written.
        window: The context window in tokens, or None.
    """

    request: SeenRequest
    dialect: OpenAIDialect
    window: int | None
    _reader: asyncio.StreamReader = attrs.field(repr=False)
    _writer: asyncio.StreamWriter = attrs.field(repr=False)
    broken: bool = False
    """Is the connection beyond use for another request?"""

    async def play(self, fault: Fault) -> None:
        """Do what a fault says; one that begins an answer meets the window first."""
        asked = self.dialect.asked_for(self.request.body)
        too_long = self.window is not None and self.request.tokens + asked > self.window
        if getattr(fault, "answers", False) and self.window is not None and too_long:
            self.request.fault = "overflow"
            await self.respond(400, self.dialect.overflow(self.request.tokens, asked, self.window))
            return
        self.request.fault = str(fault)
        await fault.play(self)

    # Sending ...

    async def respond(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        kind: str = JSON,
        length: int | None = None,
    ) -> None:
        """Send an answer of a known length; `length` may promise another one than is sent."""
        framing = {"content-length": str(len(body) if length is None else length)}
        await self.head(status, {"content-type": kind, **framing, **(headers or {})})
        await self.send(body)

    async def begin_stream(self) -> None:
        """Send the head of a stream and its opening event, which brings no text."""
        await self.head(200, {"content-type": EVENTS, "transfer-encoding": "chunked"})
        await self.chunk(self.dialect.opening(self.request.number))

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Send a head."""
        phrase = responses.get(status, "Unknown")
        fields = {"x-request-id": f"req-{self.request.number}", **headers}
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields.items())]
        self.request.status = status
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one ends it."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            ClientLeftError: Nobody is there to read them.
        """
        if self._reader.at_eof() or self._writer.is_closing():
            raise ClientLeftError
        self._writer.write(data)
        await self._writer.drain()

    # Waiting and breaking ...

    async def pause(self, seconds: float | None) -> None:
        """Send nothing for a while, or until the client leaves (None).

        Raises:
            ClientLeftError: It left.
        """
        if seconds == 0:
            return
        try:
            async with asyncio.timeout(seconds):
                ahead = await self._reader.read(1)
        except TimeoutError:
            return
        if ahead:
            msg = "the client sent a second request before the first was answered; that is not supported"
            raise ConnectionError(msg)
        raise ClientLeftError

    def reset(self) -> None:
        """End the connection with a RST."""
        self.request.ending = "reset"
        self.broken = True
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self._writer.transport.abort()

    def cut(self) -> None:
        """End the connection in the ordinary way, wherever the answer is; what was sent still arrives."""
        self.request.ending = "cut"
        self.broken = True
        self._writer.close()
