"""A body that is handed on byte for byte while the stages see what the bytes mean."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from typing import Final, Protocol

import attrs
import httpx2

from resilient_llm.errors import BackendFailure
from resilient_llm.events import Event, Finish, Result
from resilient_llm.response import ResponseInfo
from resilient_llm.wire.assembly import holds_content

DRAIN_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 2.0
RECEIVED: Final = Result(None)
"""The event that stands for bytes of which nothing else is known."""

_one_event = re.compile(rb".*?(?:\n\n|\r\n\r\n|\r\r)|.+", re.DOTALL).findall


class Decoder(Protocol):
    """Tells what bytes mean; `ChatStreamDecoder` does, for chats whole and streamed."""

    done: bool
    model: str
    id: str | None
    finish_reason: str | None

    @property
    def failure(self) -> Exception | None:
        """What broke the stream."""
        ...

    def feed(self, data: bytes, /) -> list[Event]:
        """Decode the next read."""
        ...

    def eof(self) -> list[Event]:
        """The bytes have ended."""
        ...


class OpaqueDecoder:
    """Knows that bytes come and that they end."""

    failure = None
    done = False
    model = ""
    id: str | None = None
    finish_reason: str | None = None

    def feed(self, _data: bytes) -> list[Event]:
        """Something came."""
        return [RECEIVED]

    def eof(self) -> list[Event]:
        """Any end is good."""
        return [Finish("stop")]


@attrs.define(kw_only=True)
class WireInfo(ResponseInfo):
    """What is known of an answer that came over HTTP, and its bytes as far as they are not handed on yet.

    Args:
        head: The answer itself: status, headers, extensions.
        chunks: Bytes, decompressed; those of an event that broke the stream are not among them.
        closing: The task that lets go of the connection.
    """

    head: httpx2.Response
    chunks: deque[bytes] = attrs.field(factory=deque, repr=False)
    closing: asyncio.Task[None] | None = None


@attrs.define
class Bodies:
    """The answers of one backend that are being received, and the tasks that close them.

    Referred to from here they outlive a response that is dropped unread, whose finalizer closes them.
    """

    open: set[ObservedBody] = attrs.field(factory=set)
    closing: set[asyncio.Task[None]] = attrs.field(factory=set)

    async def aclose(self) -> None:
        """Wait for those that are being closed."""
        if self.closing:
            await asyncio.wait(self.closing)


class ObservedBody:
    """An answer that is still being received.

    Args:
        info: What is known of it; gets the bytes.
        decoder: Tells what they mean.
        bodies: Where it belongs until it is closed, which httpx2 can only do in a task.
    """

    def __init__(self, info: WireInfo, decoder: Decoder, bodies: Bodies) -> None:
        self.info: ResponseInfo = info
        self._wire = info
        self._decoder = decoder
        self._bodies = bodies
        self._loop = asyncio.get_running_loop()
        self._bytes = info.head.aiter_bytes()
        self._said = False
        bodies.open.add(self)

    async def receive(self) -> list[Event]:
        """The events of the next read. Raises what broke the stream, after the events before it."""
        decoder = self._decoder
        if decoder.failure is not None:
            raise self._amended(decoder.failure)
        data = await self._read()
        events = self._feed(data) if data else decoder.eof()
        self.info.model = decoder.model
        if decoder.failure is not None and not events:
            raise self._amended(decoder.failure)
        return events

    def close(self) -> None:
        """Let go of the connection in a task: for reuse if the answer is complete, else drop it. From any thread."""
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - documented for this use
            self._close()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._close)

    async def _read(self) -> bytes:
        if self._decoder.finish_reason is None:
            return await anext(self._bytes, b"")
        patience = asyncio.timeout(PATIENCE_SECONDS)
        try:
            async with patience:
                return await anext(self._bytes, b"")
        except httpx2.HTTPError:
            return b""
        except TimeoutError:
            if not patience.expired():
                raise
            return b""

    def _feed(self, data: bytes) -> list[Event]:
        """Decode event by event, so that the bytes of the one that breaks the stream can be kept back."""
        decoder = self._decoder
        events: list[Event] = []
        for piece in _one_event(data):
            events += decoder.feed(piece)
            if decoder.failure is not None:
                return events
            self._wire.chunks.append(piece)
        self._said = self._said or holds_content(events)
        if not events and self._said and decoder.finish_reason is not None:
            events.append(RECEIVED)  # nothing more will be said: hand on the rest as it comes
        return events

    def _close(self) -> None:
        self._bodies.open.discard(self)
        if self._wire.closing is None and not self._wire.head.is_closed:
            task = self._wire.closing = self._loop.create_task(self._let_go())
            self._bodies.closing.add(task)
            task.add_done_callback(self._bodies.closing.discard)

    async def _let_go(self) -> None:
        with contextlib.suppress(httpx2.HTTPError, TimeoutError):
            if self._decoder.done:
                async with asyncio.timeout(DRAIN_SECONDS):
                    async for _ in self._bytes:
                        pass
            await self._bytes.aclose()
        await self._wire.head.aclose()

    def _amended(self, failure: Exception) -> Exception:
        """Complete a failure that the decoder found by what only the head tells."""
        if isinstance(failure, BackendFailure) and not failure.headers:
            failure.headers = dict(self._wire.head.headers)
        return failure
