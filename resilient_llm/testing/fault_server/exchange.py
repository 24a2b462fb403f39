"""One request and its answer on the wire, raw enough to do to it whatever a backend or a network may do."""

from __future__ import annotations

import asyncio
import socket
import struct
from http.client import responses
from typing import TYPE_CHECKING

import attrs

from . import asked
from .reply import Turn, reply_to
from .shapes import refuse
from .words import Facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .dialect import Dialect, Written
    from .faults import Fault
    from .records import SeenRequest
    from .reply import Source
    from .words import Reason

LINGER_NOT = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends a RST."""

JSON = "application/json"


class ClientLeftError(ConnectionError):
    """The client closed the connection before its answer was at its end."""


@attrs.define(eq=False)
class Exchange:
    """A request that is being answered; what a fault has to work with.

    Args:
        request: What was asked; takes note of what happens.
        dialect: How bodies are written.
        model: The model that answers.
        reply: What it answers.
        window: The context window in tokens, or None.
    """

    request: SeenRequest
    dialect: Dialect
    model: str
    reply: Source
    window: int | None
    _reader: asyncio.StreamReader = attrs.field(repr=False)
    _writer: asyncio.StreamWriter = attrs.field(repr=False)
    broken: bool = False
    """Is the connection beyond use for another request?"""

    async def play(self, fault: Fault) -> None:
        """Do what a fault says; one that begins an answer meets the window first."""
        if getattr(fault, "answers", False) and self._is_too_long():
            self.request.fault = "overflow"
            await self.refuse("context_length")
            return
        self.request.fault = str(fault)
        await fault.play(self)

    def _is_too_long(self) -> bool:
        body = self.request.body
        if self.window is None or (self.dialect.truncates and body.get("truncate") is not False):
            return False
        return self.request.tokens + asked.asked_for(body) > self.window

    # What a sound backend would say ...

    def turn(self, source: Source | None = None) -> Turn:
        """The request and the reply to it.

        Args:
            source: The reply, if it is not the server's.
        """
        request, tokens = self.request, self.request.tokens
        seen = tokens if self.window is None else min(tokens, self.window)
        reply = reply_to(request.body, self.reply if source is None else source)
        return Turn(request.number, self.model, request.body, reply, seen)

    def whole(self, source: Source | None = None) -> bytes:
        """The body of an answer that comes whole."""
        return self.dialect.whole(self.turn(source))

    def written(self, source: Source | None = None) -> Written:
        """An answer that is streamed."""
        return self.dialect.stream(self.turn(source))

    def refusal(self, reason: Reason | int, detail: str = "") -> tuple[int, bytes]:
        """The status and the body with which this backend refuses."""
        request = self.request
        facts = Facts(
            number=request.number,
            model=str(request.body.get("model", "")),
            tokens=request.tokens,
            asked=asked.asked_for(request.body),
            window=max(1, request.tokens // 2) if self.window is None else self.window,
            detail=detail,
        )
        return refuse(self.dialect.backend, reason, facts)

    # Sending ...

    async def refuse(
        self, reason: Reason | int, headers: Mapping[str, str] | None = None, *, detail: str = ""
    ) -> None:
        """Refuse in the backend's words."""
        status, body = self.refusal(reason, detail)
        await self.respond(status, body, headers)

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
        """Send the head of a stream and what opens it, which brings no content."""
        await self.head(200, {"content-type": self.dialect.kind, "transfer-encoding": "chunked"})
        await self.chunk(self.written().opening)

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Send a head."""
        fields = {self.dialect.id_header: f"req-{self.request.number}", **headers}
        if self.request.headers.get("connection", "").lower() == "close":
            fields["connection"] = "close"
        self.request.status = status
        await self.send(self.head_lines(status, fields.items()) + b"\r\n")

    def head_lines(self, status: int, fields: Iterable[tuple[str, str]]) -> bytes:
        """The lines of a head, without the empty one that ends it."""
        lines = [
            f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}",
            *(f"{name}: {value}" for name, value in fields),
        ]
        return "".join(f"{line}\r\n" for line in lines).encode("latin-1")

    async def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body, if there is anything in it."""
        if data:
            await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end_chunks(self) -> None:
        """End a chunked body."""
        await self.send(b"0\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            ClientLeftError: Nobody is there to read them.
        """
        if self._reader.at_eof() or self._writer.is_closing():
            raise ClientLeftError
        self._writer.write(data)
        await self._writer.drain()

    async def flush(self) -> None:
        """Let a client in the same event loop read what was sent before more follows."""
        await asyncio.sleep(0)

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
