"""Answers, sound and broken off. Anything with a `play` of one's own will do as a fault as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs

from resilient_llm.validators import count, non_negative

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .dialect import Written
    from .exchange import Exchange
    from .reply import Source


def _optional_count(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        count(instance, attribute, value)


class Fault(Protocol):
    """One way to treat a request.

    A class attribute `answers = True` says that it begins an answer, so that a request which is too long for the
    server's window is refused instead.
    """

    async def play(self, exchange: Exchange, /) -> None:
        """Answer, or fail to."""
        ...


@attrs.frozen(kw_only=True)
class Pace:
    """What all that begin an answer have in common. Times in seconds.

    Args:
        latency: Time to the head.
        first_token: Time from the head of a stream to its first piece.
        interval: Time for each piece: before each of a stream but the first, all at once before a whole answer.
        reply: What is answered; None: what the server's `reply` says.
    """

    answers: ClassVar[bool] = True

    latency: float = attrs.field(default=0.0, validator=non_negative)
    first_token: float | None = attrs.field(default=None, validator=attrs.validators.optional(non_negative))
    interval: float = attrs.field(default=0.0, validator=non_negative)
    reply: Source | None = None

    async def begin(self, exchange: Exchange) -> Written:
        """Send the head of a stream and what opens it; what would follow."""
        written = exchange.written(self.reply)
        await exchange.pause(self.latency)
        await exchange.head(200, {"content-type": exchange.dialect.kind, "transfer-encoding": "chunked"})
        await exchange.chunk(written.opening)
        return written

    async def bring(self, exchange: Exchange, pieces: Sequence[bytes]) -> None:
        """Send pieces of a stream."""
        first = self.interval if self.first_token is None else self.first_token
        for number, piece in enumerate(pieces):
            await exchange.pause(self.interval if number else first)
            await exchange.chunk(piece)


@attrs.frozen(kw_only=True)
class Answer(Pace):
    """Answer as a sound backend does."""

    def __str__(self) -> str:
        """The word for it."""
        return "answer"

    async def play(self, exchange: Exchange, /) -> None:
        """Answer."""
        if not exchange.request.stream:
            body = exchange.whole(self.reply)
            await exchange.pause(self.latency)
            if self.interval:
                await exchange.pause(self.interval * len(exchange.written(self.reply).pieces))
            await exchange.respond(200, body)
            return
        written = await self.begin(exchange)
        await self.bring(exchange, written.pieces)
        await exchange.chunk(written.finish + written.end)
        await exchange.end_chunks()


@attrs.frozen(kw_only=True)
class Cut(Pace):
    """Break off in the middle: a stream after some of its pieces, a whole answer after half of its body.

    Args:
        after: Pieces that a stream still brings; 0 leaves the head and an event without content.
        finished: Bring all pieces and the finish reason, and leave only the end marker out.
        at: Break off after so many bytes of the body instead, wherever that is.
        clean: End the body properly, so that HTTP has nothing to complain of: the stream lacks its end, the whole
            answer is part of a JSON text.
    """

    after: int = attrs.field(default=0, validator=count)
    finished: bool = False
    at: int | None = attrs.field(default=None, validator=_optional_count)
    clean: bool = False

    def __str__(self) -> str:
        """The words for it."""
        return "clean cut" if self.clean else "cut"

    async def play(self, exchange: Exchange, /) -> None:
        """Begin and break off."""
        if exchange.request.stream:
            await self._stream(exchange)
        else:
            body = exchange.whole(self.reply)
            part = body[: len(body) // 2 if self.at is None else self.at]
            await exchange.pause(self.latency)
            await exchange.respond(200, part, length=len(part if self.clean else body))
        exchange.request.ending = "cut"
        if not self.clean:
            exchange.cut()

    async def _stream(self, exchange: Exchange) -> None:
        if self.at is not None:
            data = exchange.written(self.reply).all[: self.at]
            await exchange.pause(self.latency)
            await exchange.head(200, {"content-type": exchange.dialect.kind, "transfer-encoding": "chunked"})
            await exchange.chunk(data)
        else:
            written = await self.begin(exchange)
            await self.bring(exchange, written.pieces if self.finished else written.pieces[: self.after])
            await exchange.chunk(written.finish if self.finished else b"")
        if self.clean:
            await exchange.end_chunks()


@attrs.frozen(kw_only=True)
class Stall(Pace):
    """Fall silent until the client leaves: a stream after some of its pieces, a whole answer before its head.

    Args:
        after: Pieces that a stream still brings; None: not even the head.
    """

    after: int | None = attrs.field(default=0, validator=_optional_count)

    def __str__(self) -> str:
        """The word for it."""
        return "stall"

    async def play(self, exchange: Exchange, /) -> None:
        """Begin and fall silent."""
        if exchange.request.stream and self.after is not None:
            written = await self.begin(exchange)
            await self.bring(exchange, written.pieces[: self.after])
        await exchange.pause(None)


@attrs.frozen(kw_only=True)
class KeepAlive(Pace):
    """Give signs of life without content until the client leaves: comments, pings, blank lines.

    Args:
        after: Pieces that a stream brings before.
        every: Seconds between two signs.
        sign: The sign; None: the dialect's own, and blank lines for an answer that is to come whole.
    """

    after: int = attrs.field(default=0, validator=count)
    every: float = attrs.field(default=0.1, validator=non_negative)
    sign: bytes | None = None

    def __str__(self) -> str:
        """The words for it."""
        return "keep-alive"

    async def play(self, exchange: Exchange, /) -> None:
        """Begin and go on with nothing."""
        if exchange.request.stream:
            written = await self.begin(exchange)
            await self.bring(exchange, written.pieces[: self.after])
            sign = exchange.dialect.beat
        else:
            await exchange.pause(self.latency)
            await exchange.head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})
            sign = b"\n"
        while True:
            await exchange.pause(self.every)
            await exchange.chunk(sign if self.sign is None else self.sign)
            await exchange.flush()


@attrs.frozen(kw_only=True)
class Dribble(Pace):
    """Answer soundly, but a few bytes at a time, wherever that cuts characters, events and numbers.

    Args:
        size: Bytes at a time.
    """

    size: int = attrs.field(default=1, validator=[count, attrs.validators.ge(1)])

    def __str__(self) -> str:
        """The word for it."""
        return "dribble"

    async def play(self, exchange: Exchange, /) -> None:
        """Answer slowly."""
        streams = exchange.request.stream
        data = exchange.written(self.reply).all if streams else exchange.whole(self.reply)
        kind = exchange.dialect.kind if streams else "application/json"
        await exchange.pause(self.latency)
        await exchange.head(200, {"content-type": kind, "transfer-encoding": "chunked"})
        for at in range(0, len(data), self.size):
            await exchange.pause(self.interval)
            await exchange.chunk(data[at : at + self.size])
            await exchange.flush()
        await exchange.end_chunks()
