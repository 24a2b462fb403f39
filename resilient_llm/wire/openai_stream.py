"""OpenAI's chat stream, as OpenAI and everyone who claims compatibility writes it.

What ends a stream: `[DONE]`, or the end of the bytes after a finish reason. Chunks after the finish reason may
still bring usage, so `Finish` is held back until then. `[DONE]` without a finish reason is an interruption (that is
how llama-cpp-python turns away a running stream), unless the backend never names finish reasons at all.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, ToolCallDelta, UsageEvent

from .openai_calls import CallNumbering
from .openai_response import decode_chat
from .openai_shapes import Choice, Chunk, Delta, finish_word, read_chunk
from .payload import loads, object_of, says_error, stream_failure, usage_of
from .sse import MAX_EVENT_BYTES, ServerSentEvent, SSEDecoder

DONE: Final = b"[DONE]"
PADDING: Final = b"\xef\xbb\xbf \t\r\n"
NO_STREAM: Final = (b"{", b"[", b"<")

_decode = msgspec.json.Decoder(Chunk).decode


class ChatStreamDecoder:
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
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.failure: BackendFailure | ModelResponseInvalidError | None = None
        self.done = False
        self.model = ""
        self.id: str | None = None
        self.finish_reason: str | None = None
        self._sse = SSEDecoder(max_event_bytes=max_event_bytes)
        self._limit = max_event_bytes
        self._begun = False
        self._body: bytearray | None = None
        self._calls = CallNumbering()
        self._choice: Choice | None = None
        self._usage: dict[str, object] | None = None
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
        answer = decode_chat(body)
        self.model, self.id, self.done = answer.model, answer.id, True
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
            chunk = _decode(data)
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
            self._answered = self._answered or bool(events)
            self._finish(events, marked=True)
        elif data and message.name != "ping":
            try:
                chunk = read_chunk(data)
            except ModelResponseInvalidError:
                if message.complete:
                    raise
                return  # cut by the end of the stream, which is judged by itself
            self._chunk(chunk, data, events)

    def _chunk(self, chunk: Chunk, data: bytes, events: list[Event]) -> None:
        choices = chunk.choices
        if chunk.error or (choices is UNSET and says_error(object_of(loads(data)))):
            raise stream_failure(data)
        if chunk.usage:
            self._usage = chunk.usage
        if not self.model:
            self.model = chunk.model or ""
            self.id = chunk.id or None
        if not choices:
            return
        self._choice = choice = choices[0]
        if choice.delta is not None:
            self._delta(choice.delta, events)
        if choice.finish_reason:
            self._stopped(choice, chunk, data)

    def _delta(self, delta: Delta, events: list[Event]) -> None:
        if delta.reasoning_content or delta.reasoning:
            events.append(ReasoningDelta(delta.reasoning_content or delta.reasoning or ""))
        if delta.content:
            events.append(TextDelta(delta.content))
        elif delta.refusal:
            events.append(TextDelta(delta.refusal))
        if delta.tool_calls:
            events += map(self._calls.place, delta.tool_calls)
        if delta.function_call is not None:
            function = delta.function_call
            events.append(ToolCallDelta(0, "", function.name or "", function.arguments or ""))

    def _stopped(self, choice: Choice, chunk: Chunk, data: bytes) -> None:
        self.finish_reason = finish_word(choice.finish_reason)
        if self.finish_reason == "error":
            raise stream_failure(data)
        if chunk.x_groq is not None and not self._usage:
            self._usage = chunk.x_groq.usage

    def _finish(self, events: list[Event], *, marked: bool = False) -> None:
        if self.done or self.failure is not None:
            return
        reason = self.finish_reason
        if reason is None and marked and self._answered and self._choice_is_silent():
            reason = self.finish_reason = "stop"
        if reason is None:
            what = "broke off without a finish reason" if self._answered else "ended without an answer"
            msg = f"the stream {what}"
            raise ModelResponseInvalidError(msg)
        usage = usage_of(self._usage)
        if usage is not None:
            events.append(UsageEvent(usage))
        events.append(Finish(reason))
        self.done = True

    def _choice_is_silent(self) -> bool:
        """Does this backend leave finish reasons out altogether?"""
        return self._choice is not None and self._choice.finish_reason is UNSET
