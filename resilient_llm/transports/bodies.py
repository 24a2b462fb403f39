"""The body of a stream that is still being written.

How a stream ends: with its end marker; or, after a finish reason, with the end of the bytes, a reset, or a
server that has not ended it within `PATIENCE_SECONDS`. Any other end is a failure, raised by the `receive`
after the one that hands over what came before it. A stream that outgrows its bound fails at once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from aiohttp import ClientError

from .reading import Patience, given_up, next_read

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import ClientResponse

    from resilient_llm.events import Event
    from resilient_llm.response import ResponseInfo

    from .sessions import Pool


class StreamDecoder(Protocol):
    """A codec's decoder of one stream. It raises nothing: what breaks the stream is kept in `failure`."""

    @property
    def failure(self) -> Exception | None:
        """What broke the stream."""
        ...

    @property
    def done(self) -> bool:
        """Did the end marker come?"""
        ...

    @property
    def model(self) -> str:
        """The model, once known."""
        ...

    @property
    def id(self) -> str | None:
        """The answer's id, once known."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped, once known."""
        ...

    def feed(self, data: bytes, /) -> list[Event]:
        """Decode the next read."""
        ...

    def eof(self) -> list[Event]:
        """The bytes have ended: the last events, or a `failure`."""
        ...


class StreamBody:
    """An answer that is still being written.

    Args:
        response: aiohttp's response, its body unread.
        decoder: Turns its bytes into events.
        info: What is known of the answer; model and id are filled in as they come.
        pool: Where the connection belongs.
        amend: Completes a failure that the decoder found with what only the transport knows.
    """

    def __init__(
        self,
        response: ClientResponse,
        decoder: StreamDecoder,
        info: ResponseInfo,
        pool: Pool,
        amend: Callable[[Exception, ClientResponse], Exception],
    ) -> None:
        self.info = info
        self._response = response
        self._content = response.content
        self._decoder = decoder
        self._pool = pool
        self._amend = amend
        self._left = pool.max_answer_bytes
        self._patience = Patience()
        pool.streams.add(self)

    async def receive(self) -> list[Event]:
        """The events of the next read. Raises what broke the stream, after the events before it."""
        decoder = self._decoder
        if decoder.failure is not None:
            raise self._amend(decoder.failure, self._response)
        data = await (next_read(self._content) if decoder.finish_reason is None else self._rest())
        self._left -= len(data)
        if self._left < 0:
            raise given_up(self._response, self._pool.max_answer_bytes)
        events = decoder.feed(data) if data else decoder.eof()
        if self.info.model != decoder.model:
            self._note()
        if decoder.failure is not None and not events:
            raise self._amend(decoder.failure, self._response)
        return events

    def close(self) -> None:
        """Let go of the connection: for reuse if the answer is complete, else drop it. From any thread."""
        loop = self._pool.loop
        if asyncio._get_running_loop() is loop:  # noqa: SLF001 - documented for this use; the public one raises
            self._close()
        else:
            with suppress(RuntimeError):  # the loop is closed, and its connections with it
                loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        if self not in self._pool.streams:
            return
        self._pool.streams.discard(self)
        if self._decoder.done:
            self._pool.drains.take(self._response)
        else:
            self._response.close()

    async def _rest(self) -> bytes:
        """What comes after the finish reason, if it comes in time; empty if nothing does any more."""
        data = await self._patience.read(partial(next_read, self._content), ClientError)
        if not data:
            self._response.close()  # of no effect if the body has ended
        return data

    def _note(self) -> None:
        self.info.model = self._decoder.model
        if self.info.request_id is None:
            self.info.request_id = self._decoder.id
