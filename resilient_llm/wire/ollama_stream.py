"""Ollama's chat stream: a JSON object a line, the last one with `done`.

What ends a stream is the line that says `done`, which brings finish reason and usage. A line with an `error` may
come at any time, although the status was 200; the end of the bytes without `done` is a failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.events import Event, Finish, UsageEvent

from .ndjson import MAX_LINE_BYTES, NDJSONDecoder
from .ollama_shapes import Answer, Calls, read_answer, said
from .payload import stream_failure

if TYPE_CHECKING:
    from collections.abc import Iterable

_decode = msgspec.json.Decoder(Answer).decode


class ChatStreamDecoder:
    """Turns the bytes of one streamed answer into events, `Finish` last.

    Nothing is raised: what breaks the stream is kept in `failure`, because events of the same read may have come
    before it. Hand them over first, then raise it. Tool calls come whole.

    Attributes:
        failure: A `BackendFailure` for an error that the backend sent, for the classifier to judge; a
            `ModelResponseInvalidError` for garbage, a truncated or an empty stream.
        done: `Finish` was handed out. What follows it is ignored.
        model: The model as the backend names it; empty until it does.
        id: None: Ollama gives its answers no id.
        finish_reason: Why the model stopped, once it is known.

    Args:
        legacy: Give tool calls as a function call: the caller asked with `functions`.
        max_line_bytes: The longest line.
    """

    id: str | None = None

    def __init__(self, *, legacy: bool = False, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.failure: BackendFailure | ModelResponseInvalidError | None = None
        self.done = False
        self.model = ""
        self.finish_reason: str | None = None
        self._lines = NDJSONDecoder(max_line_bytes=max_line_bytes)
        self._calls = Calls(legacy=legacy)
        self._answered = False

    def feed(self, data: bytes) -> list[Event]:
        """Decode the next read and return the events that it completes."""
        return [] if self._is_over else self._events(self._lines.feed(data))

    def eof(self) -> list[Event]:
        """Judge the end of the bytes: the last events, or `failure` if the stream is not complete."""
        if self._is_over:
            return []
        # a line that was cut by the end is judged by what it lacks
        events = self._events(line for line in self._lines.eof() if line[:1] != b"{" or line[-1:] == b"}")
        if not self._is_over:
            what = "broke off without a finish reason" if self._answered else "ended without an answer"
            msg = f"the stream {what}"
            self.failure = ModelResponseInvalidError(msg)
        return events

    @property
    def _is_over(self) -> bool:
        return self.done or self.failure is not None

    def _events(self, lines: Iterable[bytes]) -> list[Event]:
        events: list[Event] = []
        try:
            for line in lines:
                self._line(line, events)
                if self.done:
                    return events
            if self._lines.failure is not None:
                raise self._lines.failure
        except (BackendFailure, ModelResponseInvalidError) as failure:
            self.failure = failure
        if events:
            self._answered = True
        return events

    def _line(self, line: bytes, events: list[Event]) -> None:
        try:
            answer = _decode(line)
        except (ValueError, RecursionError):
            answer = read_answer(line)
        if answer.error:
            raise stream_failure(line)
        if not self.model:
            self.model = answer.model
        if answer.message is not None:
            said(answer.message, self._calls, answer.created_at, events)
        if answer.done:
            self._finish(answer, events)

    def _finish(self, answer: Answer, events: list[Event]) -> None:
        self.finish_reason = self._calls.reason(answer.done_reason)
        if (usage := answer.usage()) is not None:
            events.append(UsageEvent(usage))
        events.append(Finish(self.finish_reason))
        self.done = True
