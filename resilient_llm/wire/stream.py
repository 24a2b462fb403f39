"""What the decoders of all dialects over server-sent events share: from reads to events, and how a stream ends.

What ends a stream: its end marker, or the end of the bytes after a finish reason. What follows the finish reason may
still bring usage, so `Finish` is held back until then. The marker without a finish reason is an interruption (that is
how llama-cpp-python turns away a running stream), unless the backend never names finish reasons at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.events import Event, Finish, UsageEvent

from .payload import stream_failure
from .sse import MAX_EVENT_BYTES, ServerSentEvent, SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_llm.models import Usage

    from .openai_response import ChatAnswer

Chunk = TypeVar("Chunk")

DONE: Final = b"[DONE]"
PADDING: Final = b"\xef\xbb\xbf \t\r\n"
NO_STREAM: Final = (b"{", b"[", b"<")


class Cutter(Protocol):
    """Cuts the bytes of a stream into events."""

    failure: ModelResponseInvalidError | None
    """What broke it; it is not raised."""

    def feed(self, data: bytes, /) -> list[ServerSentEvent]:
        """Decode the next read."""
        ...

    def eof(self) -> list[ServerSentEvent]:
        """What the end of the bytes left open."""
        ...


class EventStreamDecoder(Generic[Chunk]):
    """Turns the bytes of one streamed answer into events, `Finish` last.

    Nothing is raised: what breaks the stream is kept in `failure`, because events of the same read may have
    come before it. Hand them over first, then raise it. Tool calls come as fragments; `Assembler` makes them
    whole.

    Attributes:
        failure: A `BackendFailure` for an error that the backend sent, for the classifier to judge; a
            `ModelResponseInvalidError` for garbage, a truncated or an empty stream.
        done: `Finish` was handed out: after a read, the end marker came. What follows it is ignored.
        model: The model as the backend names it; empty until it does.
        id: The backend's id of the answer.
        finish_reason: Why the model stopped, once it is known.
        extra: What the assistant's message carries beside text and calls, once it is known.

    Args:
        decode: Decodes a sound payload; raises ValueError for any other.
        read: Reads any other payload; raises ModelResponseInvalidError if nothing can be made of it.
        whole: Decodes an answer that came in one piece though a stream was asked for.
        max_event_bytes: The longest event.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Chunk],
        read: Callable[[bytes], Chunk],
        whole: Callable[[bytes], ChatAnswer],
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self.failure: BackendFailure | ModelResponseInvalidError | None = None
        self.done = False
        self.model = ""
        self.id: str | None = None
        self.finish_reason: str | None = None
        self.extra: dict[str, Any] = {}
        self._decode = decode
        self._read = read
        self._decode_whole = whole
        self._sse = self._cutter(max_event_bytes)
        self._limit = max_event_bytes
        self._begun = False
        self._body: bytearray | None = None
        self._answered = False

    def feed(self, data: bytes) -> list[Event]:
        """Decode the next read and return the events that it completes."""
        events: list[Event] = []
        if self.done or self.failure is not None or not self._is_stream(data):
            return events
        self._take(self._sse.feed(data), events)
        return events

    def eof(self) -> list[Event]:
        """Judge the end of the bytes: the last events, or `failure` if the stream is not complete."""
        events: list[Event] = []
        if self.done or self.failure is not None:
            return events
        try:
            if self._body is not None:
                return self._whole(bytes(self._body))
            self._take(self._sse.eof(), events)
            self._finish(events)
        except (BackendFailure, ModelResponseInvalidError) as failure:
            self.failure = failure
        return events

    # What a dialect fills in ...

    def _chunk(self, chunk: Chunk, data: bytes, events: list[Event]) -> None:
        """Take in a payload; what is to be handed out goes into `events`."""
        raise NotImplementedError

    def _usage(self) -> Usage | None:
        """What the answer cost, as far as it was told."""
        raise NotImplementedError

    def _names_no_reasons(self) -> bool:
        """Does this backend leave finish reasons out altogether?"""
        raise NotImplementedError

    def _cutter(self, limit: int) -> Cutter:
        """What cuts the stream into events of at most so many bytes."""
        return SSEDecoder(max_event_bytes=limit)

    # What they share ...

    def _is_stream(self, data: bytes) -> bool:
        """Is this SSE? Some backends answer a request for a stream with a plain body, mostly an error's."""
        if not self._begun:
            start = data.lstrip(PADDING)
            self._begun = bool(start)
            if start[:1] in NO_STREAM:
                self._body, data = bytearray(), start
        if self._body is None:
            return True
        self._body += data
        if len(self._body) > self._limit:
            msg = f"the answer is no stream and longer than {self._limit} bytes"
            self.failure = ModelResponseInvalidError(msg)
            self._body.clear()
        return False

    def _whole(self, body: bytes) -> list[Event]:
        answer = self._decode_whole(body)
        self.model, self.id, self.done = answer.model, answer.id, True
        self.extra.update(answer.extra)
        last = answer.events[-1]
        self.finish_reason = last.reason if isinstance(last, Finish) else None
        return answer.events

    def _take(self, messages: list[ServerSentEvent], events: list[Event]) -> None:
        try:
            for message in messages:
                self._message(message, events)
                if self.done:
                    return
            if self._sse.failure is not None:
                raise self._sse.failure
        except (BackendFailure, ModelResponseInvalidError) as failure:
            self.failure = failure
        if events:
            self._answered = True

    def _message(self, message: ServerSentEvent, events: list[Event]) -> None:
        data = message.data
        try:
            chunk = self._decode(data)
        except (ValueError, RecursionError):
            self._unusual(message, events)
        else:
            if message.name == "error":
                raise stream_failure(data)
            self._chunk(chunk, data, events)

    def _unusual(self, message: ServerSentEvent, events: list[Event]) -> None:
        data = message.data.strip()
        if message.name == "error":
            raise stream_failure(data)
        if data.startswith(DONE):
            self._finish(events, marked=True)
        elif data and message.name != "ping":
            try:
                chunk = self._read(data)
            except ModelResponseInvalidError:
                if message.complete:
                    raise
                return  # cut by the end of the stream, which is judged by itself
            self._chunk(chunk, data, events)

    def _finish(self, events: list[Event], *, marked: bool = False) -> None:
        if self.done or self.failure is not None:
            return
        reason, answered = self.finish_reason, self._answered or bool(events)
        if reason is None and marked and answered and self._names_no_reasons():
            reason = self.finish_reason = "stop"
        if reason is None:
            what = "broke off without a finish reason" if answered else "ended without an answer"
            msg = f"the stream {what}"
            raise ModelResponseInvalidError(msg)
        usage = self._usage()
        if usage is not None:
            events.append(UsageEvent(usage))
        events.append(Finish(reason))
        self.done = True
