"""What a server can do to a request. Anything with a `play` of one's own will do as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

import attrs

from resilient_llm.validators import count, non_negative

if TYPE_CHECKING:
    from .exchange import Exchange

PAGE = b"<html><head><title>Welcome</title></head><body>It works!</body></html>"


class Fault(Protocol):
    """One way to treat a request.

    A class attribute `answers = True` says that it begins an answer, so that a request which is too long for the
    server's window is refused instead.
    """

    async def play(self, exchange: Exchange, /) -> None:
        """Answer, or fail to."""
        ...


@attrs.frozen(kw_only=True)
class Answer:
    """Answer as a sound backend does. Times in seconds.

    Args:
        latency: Time to the head.
        interval: Time for each word: before each piece of a stream, all at once before a whole answer.
    """

    answers: ClassVar[bool] = True

    latency: float = attrs.field(default=0.0, validator=non_negative)
    interval: float = attrs.field(default=0.0, validator=non_negative)

    def __str__(self) -> str:
        """The word for it."""
        return "answer"

    async def play(self, exchange: Exchange, /) -> None:
        """Answer."""
        request, dialect = exchange.request, exchange.dialect
        pieces = list(dialect.pieces(request.body, request.number))
        await exchange.pause(self.latency)
        if not request.stream:
            await exchange.pause(self.interval * len(pieces))
            await exchange.respond(200, dialect.whole(request.body, request.number))
            return
        await exchange.begin_stream()
        for piece in pieces:
            await exchange.pause(self.interval)
            await exchange.chunk(piece)
        await exchange.chunk(dialect.closing(request.body, request.number))
        await exchange.chunk(b"")


@attrs.frozen(kw_only=True)
class Reset:
    """Reset the connection before anything was answered.

    Args:
        latency: Seconds until then.
    """

    latency: float = attrs.field(default=0.0, validator=non_negative)

    def __str__(self) -> str:
        """The word for it."""
        return "reset"

    async def play(self, exchange: Exchange, /) -> None:
        """Reset it."""
        await exchange.pause(self.latency)
        exchange.reset()


@attrs.frozen(kw_only=True)
class Cut:
    """Break off in the middle: a stream after some of its text, a whole answer after half of its body.

    Args:
        after: Pieces of text that a stream still brings; 0 leaves the head and an event without text.
        clean: End the body properly, so that HTTP has nothing to complain of: the stream lacks its finish
            reason and its end marker, the whole answer is half a JSON text.
        latency: Seconds to the head.
        interval: Seconds before each piece.
    """

    answers: ClassVar[bool] = True

    after: int = attrs.field(default=0, validator=count)
    clean: bool = False
    latency: float = attrs.field(default=0.0, validator=non_negative)
    interval: float = attrs.field(default=0.0, validator=non_negative)

    def __str__(self) -> str:
        """The words for it."""
        return "clean cut" if self.clean else "cut"

    async def play(self, exchange: Exchange, /) -> None:
        """Begin and break off."""
        request, dialect = exchange.request, exchange.dialect
        await exchange.pause(self.latency)
        if request.stream:
            await _begin(exchange, self.after, self.interval)
            if self.clean:
                await exchange.chunk(b"")
        else:
            body = dialect.whole(request.body, request.number)
            half = body[: len(body) // 2]
            await exchange.respond(200, half, length=len(half if self.clean else body))
        request.ending = "cut"
        if not self.clean:
            exchange.cut()


@attrs.frozen(kw_only=True)
class Stall:
    """Fall silent: a stream after some of its text, a whole answer before its head. Ends when the client leaves.

    Args:
        after: Pieces of text that a stream still brings.
        latency: Seconds to the head of a stream.
        interval: Seconds before each piece.
    """

    answers: ClassVar[bool] = True

    after: int = attrs.field(default=0, validator=count)
    latency: float = attrs.field(default=0.0, validator=non_negative)
    interval: float = attrs.field(default=0.0, validator=non_negative)

    def __str__(self) -> str:
        """The word for it."""
        return "stall"

    async def play(self, exchange: Exchange, /) -> None:
        """Begin and fall silent."""
        await exchange.pause(self.latency)
        if exchange.request.stream:
            await _begin(exchange, self.after, self.interval)
        await exchange.pause(None)


async def _begin(exchange: Exchange, count: int, interval: float) -> None:
    """The head of a stream and the first pieces of its text."""
    request = exchange.request
    await exchange.begin_stream()
    pieces = list(exchange.dialect.pieces(request.body, request.number))
    for piece in pieces[:count]:
        await exchange.pause(interval)
        await exchange.chunk(piece)


@attrs.frozen(kw_only=True)
class Garbage:
    """Answer 200 with something that is no answer.

    Args:
        body: What comes.
        kind: The content type that it claims to have.
        latency: Seconds to the head.
    """

    body: bytes = PAGE
    kind: str = "text/html"
    latency: float = attrs.field(default=0.0, validator=non_negative)

    def __str__(self) -> str:
        """The word for it."""
        return "garbage"

    async def play(self, exchange: Exchange, /) -> None:
        """Send it."""
        await exchange.pause(self.latency)
        await exchange.respond(200, self.body, kind=self.kind)
