"""Floods: more than any client should take, made as it is sent and never held."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from resilient_llm.validators import non_negative, positive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .exchange import Exchange

BLOCK = 256 * 1024
"""Bytes that are sent at once."""

Kind: TypeAlias = Literal[
    "line", "events", "signs", "values", "chunk", "body", "header", "headers", "trailers", "informational"
]
"""What there is too much of."""

WINDOW_BITS = {"gzip": 31, "deflate": 15}
FILLER = b"x" * BLOCK


@attrs.frozen
class Flood:
    """Send too much of something.

    Args:
        kind: What: `line`, an event of a stream that has no end; `events`, sound pieces of a stream; `signs`, signs of
            life; `values`, JSON that is small as text and large as objects; `chunk`, one chunk of an HTTP body;
            `body`, a body of a length that is announced; `header`, one header; `headers`, many; `trailers`, headers
            after the body; `informational`, answers with status 100 before the real one.
        size: Bytes in all, before they are compressed.
        status: The status, for those that have a body.
        encoding: Compress the body, so that little is sent: `gzip` or `deflate`. Not with `chunk`, `body` or a head.
        latency: Seconds to the head.
    """

    kind: Kind = "line"
    size: int = attrs.field(default=1 << 30, validator=positive, kw_only=True)
    status: int = attrs.field(default=200, kw_only=True)
    encoding: Literal["gzip", "deflate"] | None = attrs.field(default=None, kw_only=True)
    latency: float = attrs.field(default=0.0, validator=non_negative, kw_only=True)

    def __str__(self) -> str:
        """The words for it."""
        return f"flood of {self.kind}"

    async def play(self, exchange: Exchange, /) -> None:
        """Send it, and break off."""
        await exchange.pause(self.latency)
        exchange.broken = True
        if self.kind in {"header", "headers", "informational"}:
            await self._before_the_body(exchange)
        elif self.kind in {"chunk", "body"}:
            await self._in_one(exchange)
        else:
            await self._chunks(exchange)
        exchange.cut()

    async def _before_the_body(self, exchange: Exchange) -> None:
        if self.kind == "informational":
            block = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000
        else:
            await exchange.send(exchange.head_lines(self.status, ()))
            block = b"x-many: yes\r\n" * 1000 if self.kind == "headers" else FILLER
        if self.kind == "header":
            await exchange.send(b"x-long: ")
        for piece in self._repeat(block):
            await exchange.send(piece)

    async def _in_one(self, exchange: Exchange) -> None:
        """As much as was announced, not a byte of it the end of a line."""
        chunked = self.kind == "chunk"
        framing = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(self.size)}
        await exchange.head(self.status, {"content-type": self._type(exchange), **framing})
        if chunked:
            await exchange.send(b"%x\r\n" % self.size)
        for piece in self._repeat(FILLER):
            await exchange.send(piece)

    async def _chunks(self, exchange: Exchange) -> None:
        fields = {"content-type": self._type(exchange), "transfer-encoding": "chunked"}
        if self.encoding:
            fields["content-encoding"] = self.encoding
        await exchange.head(self.status, fields)
        if self.kind == "trailers":
            await exchange.send(b"0\r\n")
            for piece in self._repeat(b"x-many: yes\r\n" * 1000):
                await exchange.send(piece)
            return
        for piece in _packed(self._content(exchange), self.encoding):
            await exchange.chunk(piece)

    def _type(self, exchange: Exchange) -> str:
        sound = exchange.request.stream and self.status == 200 and self.kind != "values"
        return exchange.dialect.kind if sound else "application/json"

    def _content(self, exchange: Exchange) -> Iterator[bytes]:
        if self.kind == "values":
            yield b'{"choices": ['
            yield from self._repeat(b"{}," * 20_000)
            return
        if self.kind == "line":
            yield b'data: {"choices": "'
            yield from self._repeat(FILLER)
            return
        sound = exchange.written()
        if self.kind == "events":
            yield sound.opening
        beat = exchange.dialect.beat
        what = beat if self.kind == "signs" else [beat, *sound.pieces][(len(sound.pieces) + 1) // 2]
        yield from self._repeat(what * (BLOCK // len(what)))

    def _repeat(self, block: bytes) -> Iterator[bytes]:
        left = self.size
        while left > 0:
            yield block[:left]
            left -= len(block)


def _packed(pieces: Iterable[bytes], encoding: str | None) -> Iterator[bytes]:
    """The pieces, compressed as they come."""
    if encoding is None:
        yield from pieces
        return
    packer = zlib.compressobj(9, zlib.DEFLATED, WINDOW_BITS[encoding])
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()
