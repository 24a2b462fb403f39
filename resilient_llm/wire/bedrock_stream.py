"""Anthropic's events as Amazon Bedrock streams them: each in a binary frame, base64 within JSON.

Errors are frames of their own kinds: an `exception` names its type in a header, an `error` its code and message.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from resilient_llm.errors import ModelResponseInvalidError

from . import anthropic_stream
from .frames import FrameDecoder
from .payload import json_text, load_object
from .sse import MAX_EVENT_BYTES, ServerSentEvent

if TYPE_CHECKING:
    from resilient_llm.events import Event

    from .frames import Frame
    from .stream import Cutter


class FramedEvents:
    """Cuts a stream of frames into events, as if they had been sent by the server itself.

    Attributes:
        failure: Set once the framing was broken.

    Args:
        max_event_bytes: The longest frame.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.frames = FrameDecoder(max_frame_bytes=max_event_bytes)
        self.failure: ModelResponseInvalidError | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Decode the next read and return the events that it completes."""
        events: list[ServerSentEvent] = []
        frames = self.frames.feed(data)
        try:
            events += [event for frame in frames if (event := _event(frame)) is not None]
        except ModelResponseInvalidError as failure:
            self.failure = failure
        self.failure = self.failure or self.frames.failure
        return events

    def eof(self) -> list[ServerSentEvent]:
        """Nothing: a frame that was cut says nothing, and whether the answer is complete was said before."""
        return []


def _event(frame: Frame) -> ServerSentEvent | None:
    """The event in a frame; None for a frame that carries none."""
    headers = frame.headers
    match headers.get(":message-type"):
        case "exception":
            return _error(headers.get(":exception-type", ""), _detail(frame.payload))
        case "error":
            message = headers.get(":error-message", "")
            return _error(headers.get(":error-code", ""), {"message": message} if message else {})
    if headers.get(":event-type") != "chunk":
        return None
    coded = load_object(frame.payload).get("bytes")
    try:
        data = base64.b64decode(coded, validate=True) if isinstance(coded, str) else None
    except ValueError:
        data = None
    if data is None:
        msg = "a frame of the stream holds no bytes in base64"
        raise ModelResponseInvalidError(msg)
    return ServerSentEvent(data)


def _detail(payload: bytes) -> dict[str, Any]:
    try:
        return load_object(payload)
    except ModelResponseInvalidError:
        return {}


def _error(kind: str, detail: dict[str, Any]) -> ServerSentEvent:
    said = {"type": "error", "error": {**detail, "type": kind}}
    return ServerSentEvent(json_text(said).encode(), "error")


class ChatStreamDecoder(anthropic_stream.ChatStreamDecoder):
    """Turns the bytes of one streamed answer into events; see `EventStreamDecoder`.

    Attributes:
        sound: How many bytes of the last read came before what broke the stream.
    """

    sound = 0

    def feed(self, data: bytes) -> list[Event]:
        """Decode the next read, frame by frame, and return the events that it completes."""
        events: list[Event] = []
        self.sound = 0
        while self.sound < len(data):
            end = self.sound + self._framed.frames.missing
            events += super().feed(data[self.sound : end])
            if self.failure is not None:
                break
            self.sound = min(end, len(data))
        return events

    def _cutter(self, limit: int) -> Cutter:
        self._framed = FramedEvents(max_event_bytes=limit)
        return self._framed

    def _is_stream(self, data: bytes) -> bool:  # noqa: ARG002
        """What is no frame is damaged."""
        return True
