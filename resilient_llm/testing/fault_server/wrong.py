"""Answers that come to their end and are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from resilient_llm.validators import count, non_negative

from .faults import Pace

if TYPE_CHECKING:
    from .exchange import Exchange
    from .words import Reason

PAGE = b"<html><head><title>Welcome</title></head><body>It works!</body></html>"


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


@attrs.frozen(kw_only=True)
class Hollow(Pace):
    """Answer with nothing in it: no choices, no content; a stream that begins and ends, and gives no reason."""

    def __str__(self) -> str:
        """The word for it."""
        return "hollow"

    async def play(self, exchange: Exchange, /) -> None:
        """Send the shell."""
        if not exchange.request.stream:
            await exchange.pause(self.latency)
            await exchange.respond(200, exchange.dialect.hollow(exchange.turn(self.reply)))
            return
        written = await self.begin(exchange)
        await exchange.chunk(written.end)
        await exchange.end_chunks()


@attrs.frozen(kw_only=True)
class Malformed(Pace):
    """Break the JSON: one piece of a stream that is sound otherwise, half of an answer that comes whole.

    Args:
        after: Pieces that come before the broken one.
    """

    after: int = attrs.field(default=0, validator=count)

    def __str__(self) -> str:
        """The word for it."""
        return "malformed"

    async def play(self, exchange: Exchange, /) -> None:
        """Answer, and break it."""
        if not exchange.request.stream:
            body = exchange.whole(self.reply)
            await exchange.pause(self.latency)
            await exchange.respond(200, body[: len(body) // 2])
            return
        written = await self.begin(exchange)
        await self.bring(exchange, written.pieces[: self.after])
        for piece in written.pieces[self.after : self.after + 1]:
            text = piece.rstrip(b"\n")
            await exchange.chunk(text[: -len(text) // 3] + piece[len(text) :])
        await self.bring(exchange, written.pieces[self.after + 1 :])
        await exchange.chunk(written.finish + written.end)
        await exchange.end_chunks()


@attrs.frozen(kw_only=True)
class ErrorEvent(Pace):
    """Say an error though the status was 200: in the middle of a stream, or instead of a whole answer.

    Args:
        reason: What the backend says.
        after: Pieces that a stream brings before.
    """

    reason: Reason = "overloaded"
    after: int = attrs.field(default=0, validator=count)

    def __str__(self) -> str:
        """The words for it."""
        return "error event"

    async def play(self, exchange: Exchange, /) -> None:
        """Begin and say it."""
        _, error = exchange.refusal(self.reason)
        if not exchange.request.stream:
            await exchange.pause(self.latency)
            await exchange.respond(200, error)
            return
        written = await self.begin(exchange)
        await self.bring(exchange, written.pieces[: self.after])
        await exchange.chunk(exchange.dialect.error_event(error))
        await exchange.end_chunks()


@attrs.frozen(kw_only=True)
class WrongLength(Pace):
    """Announce another length than is sent. Then wait until the client leaves.

    Args:
        by: Bytes that are announced too many; below 0 too few, so that the rest comes after the end.
    """

    by: int = attrs.field(default=10, validator=attrs.validators.instance_of(int))

    answers: ClassVar[bool] = True

    def __str__(self) -> str:
        """The words for it."""
        return "wrong length"

    async def play(self, exchange: Exchange, /) -> None:
        """Answer with a wrong head."""
        streams = exchange.request.stream
        body = exchange.written(self.reply).all if streams else exchange.whole(self.reply)
        kind = exchange.dialect.kind if streams else "application/json"
        await exchange.pause(self.latency)
        await exchange.respond(200, body, kind=kind, length=max(0, len(body) + self.by))
        await exchange.pause(None)
