"""A body that is handed on byte for byte while the stages see what the bytes mean."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import attrs

from resilient_llm.errors import BackendFailure
from resilient_llm.response import ResponseInfo
from resilient_llm.transports.reading import Patience

from .refusals import as_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_llm.events import Event
    from resilient_llm.http_call import Decoder
    from resilient_llm.response import Response

_one_event = re.compile(rb".*?(?:\n\n|\r\n\r\n|\r\r)|.+", re.DOTALL).findall


class Received(Protocol):
    """An answer that a library is receiving: all that is asked of one.

    Attributes:
        broken: What reading it raises when the connection fails.
        status: The HTTP status.
        headers: Looked up in any case.
    """

    broken: tuple[type[Exception], ...]
    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """The next bytes, decompressed; empty at the end."""
        ...

    def close(self, *, complete: bool) -> asyncio.Task[None] | None:
        """Let go of the connection: for reuse if the answer is complete, else drop it.

        Returns:
            The task that does so; None if it is done.
        """
        ...


@attrs.define(kw_only=True)
class WireInfo(ResponseInfo):
    """What is known of an answer that came over HTTP, and its bytes as far as they are not handed on yet.

    Args:
        received: The answer itself.
        chunks: Bytes, decompressed; those of an event that broke the stream are not among them.
        closing: The task that lets go of the connection.
    """

    received: Received
    chunks: deque[bytes] = attrs.field(factory=deque, repr=False)
    closing: asyncio.Task[None] | None = None


def wire_info(response: Response) -> WireInfo:
    """What is known of a response that came over HTTP; where it breaks from now on, it does so with one of our errors.

    Raises:
        TypeError: It did not; the response is closed.
    """
    info = response.info
    if isinstance(info, WireInfo):
        if response.outcome is None:
            response.on_error(partial(as_ours, backend=info.backend))
        return info
    response.close()
    msg = "a stage answered by itself, without an answer over HTTP to hand on"
    raise TypeError(msg)


def is_in_events(headers: Mapping[str, str]) -> bool:
    """Is an answer written event by event, in text or in AWS's frames?"""
    return "eventstream" in headers.get("content-type", "").replace("-", "")


@attrs.define
class Bodies:
    """The answers of one backend that are being received, and the tasks that close them.

    Referred to from here they outlive a response that is dropped unread, whose finalizer closes them.
    """

    open: set[ObservedBody] = attrs.field(factory=set)
    closing: set[asyncio.Task[None]] = attrs.field(factory=set)

    def keep(self, task: asyncio.Task[None] | None) -> None:
        """Hold on to a task that closes an answer until it is done."""
        if task is not None:
            self.closing.add(task)
            task.add_done_callback(self.closing.discard)

    async def aclose(self) -> None:
        """Wait for those that are being closed."""
        if self.closing:
            await asyncio.wait(self.closing)


class ObservedBody:
    """An answer that is still being received.

    Args:
        info: What is known of it; gets the bytes.
        decoder: Makes one that tells what they mean.
        bodies: Where it belongs until it is closed.
    """

    def __init__(self, info: WireInfo, decoder: Callable[[], Decoder], bodies: Bodies) -> None:
        self.info: ResponseInfo = info
        self._wire = info
        self._received = info.received
        self._new_decoder = decoder
        self._decoder = decoder()
        self._bodies = bodies
        self._loop = asyncio.get_running_loop()
        self._patience = Patience()
        bodies.open.add(self)

    async def receive(self) -> list[Event]:
        """The events of the next read. Raises what broke the stream, after the events before it."""
        decoder = self._decoder
        if decoder.failure is not None:
            raise self._amended(decoder.failure)
        received = self._received
        data = await (
            received.read()
            if decoder.finish_reason is None
            else self._patience.read(received.read, received.broken)
        )
        events = decoder.feed(data) if data else decoder.eof()
        if self.info.model != decoder.model:
            self.info.model = decoder.model
        if decoder.failure is not None:
            data = self._sound(data)
            if not events:
                raise self._amended(decoder.failure)
        if data:
            self._wire.chunks.append(data)
        return events

    def close(self) -> None:
        """Let go of the connection: for reuse if the answer is complete, else drop it. From any thread."""
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - documented for this use
            self._close()
        else:
            with suppress(RuntimeError):  # the loop is closed, and its connections with it
                self._loop.call_soon_threadsafe(self._close)

    def _sound(self, data: bytes) -> bytes:
        """The bytes before the event that broke the stream, which nearly always breaks a new decoder, too.

        A decoder of frames knows where it was.
        """
        if (size := getattr(self._decoder, "sound", None)) is not None:
            return data[:size]
        events = _one_event(data)
        decoder = self._new_decoder()
        for place, piece in enumerate(events):
            decoder.feed(piece)
            if decoder.failure is not None:
                return b"".join(events[:place])
        return b"".join(events[:-1])

    def _close(self) -> None:
        if self not in self._bodies.open:
            return
        self._bodies.open.discard(self)
        task = self._wire.closing = self._received.close(complete=self._decoder.done)
        self._bodies.keep(task)

    def _amended(self, failure: Exception) -> Exception:
        """Complete a failure that the decoder found by what only the head tells."""
        if isinstance(failure, BackendFailure) and not failure.headers:
            failure.headers = dict(self._received.headers)
        return failure
