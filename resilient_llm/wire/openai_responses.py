"""Answers of OpenAI's Responses API, whole and streamed, as far as stages need them.

A stream names its events; the last one (`response.completed`, `.incomplete`, `.failed`) holds the whole response once
more. Kinds of pieces that are not read (audio, images, code) are told as `Result(None)`: they are there to be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.events import (
    Event,
    Finish,
    ReasoningDelta,
    Result,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    UsageEvent,
)
from resilient_llm.models import Usage

from .openai_response import ChatAnswer
from .payload import (
    Object,
    body_failure,
    int_of,
    json_text,
    load_object,
    object_of,
    objects_of,
    says_error,
    stream_failure,
    text_of,
)
from .sse import MAX_EVENT_BYTES
from .stream import EventStreamDecoder

if TYPE_CHECKING:
    from collections.abc import Mapping

PIECE: Final = Result(None)
PIECES: Final[Mapping[str, type[TextDelta | ReasoningDelta]]] = {
    "response.output_text.delta": TextDelta,
    "response.refusal.delta": TextDelta,
    "response.reasoning_text.delta": ReasoningDelta,
    "response.reasoning_summary_text.delta": ReasoningDelta,
}
NO_EVENTS: Final = ("error", "")
ENDINGS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)
REASONS: Final = {"max_output_tokens": "length"}


class ResponseEvent(msgspec.Struct, gc=False):
    """One event of a stream; what comes once is kept as it is."""

    type: str = ""
    delta: str | None = None
    output_index: int = 0
    item: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(ResponseEvent).decode


def read_event(payload: bytes) -> ResponseEvent:
    """Read an event that the typed decoder refused.

    Raises:
        ModelResponseInvalidError: It is no JSON object.
    """
    body = load_object(payload)
    return ResponseEvent(
        text_of(body.get("type")) or "",
        text_of(body.get("delta")),
        int_of(body.get("output_index")) or 0,
        _raw(body.get("item")),
        _raw(body.get("response")),
    )


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw() if value is None else msgspec.Raw(json_text(value).encode())


def decode_response(body: bytes) -> ChatAnswer:
    """Decode a whole response whose status was 200; one that is still being made in the background counts as whole.

    Raises:
        BackendFailure: It says that it failed, which the classifier judges.
        ModelResponseInvalidError: No JSON object, or neither a status nor an output.
    """
    answer = load_object(body)
    if answer.get("status") == "failed" or says_error(answer):
        raise body_failure(body)
    if not isinstance(answer.get("output"), list) and answer.get("status") is None:
        msg = "the answer holds no output"
        raise ModelResponseInvalidError(msg)
    events = [event for item in objects_of(answer.get("output")) for event in _said(item)]
    calls = [event for event in events if isinstance(event, ToolCall)]
    for number, call in enumerate(calls):
        events[events.index(call)] = ToolCall(number, call.id, call.name, call.arguments)
    if (usage := read_usage(answer.get("usage"))) is not None:
        events.append(UsageEvent(usage))
    events.append(Finish(_reason(answer, calls=bool(calls))))
    return ChatAnswer(events, text_of(answer.get("model")) or "", text_of(answer.get("id")), body)


def _said(item: Object) -> list[Event]:
    match item.get("type"):
        case "message":
            texts = [
                text_of(part.get("text")) or text_of(part.get("refusal"))
                for part in objects_of(item.get("content"))
            ]
            return [TextDelta(text) for text in texts if text]
        case "function_call":
            identity, name = text_of(item.get("call_id")) or "", text_of(item.get("name")) or ""
            return [ToolCall(0, identity, name, text_of(item.get("arguments")) or "")]
        case "reasoning":
            parts = [*objects_of(item.get("summary")), *objects_of(item.get("content"))]
            return [ReasoningDelta(text) for part in parts if (text := text_of(part.get("text")))]
        case _:
            return []


def _reason(answer: Object, *, calls: bool) -> str:
    told = text_of(object_of(answer.get("incomplete_details")).get("reason"))
    if told is not None:
        return REASONS.get(told, told)
    return "tool_calls" if calls else "stop"


def read_usage(value: object) -> Usage | None:
    """The tokens in the words of this API; None if nothing is told."""
    told = object_of(value)
    usage = Usage(
        int_of(told.get("input_tokens")),
        int_of(told.get("output_tokens")),
        int_of(told.get("total_tokens")),
        int_of(object_of(told.get("input_tokens_details")).get("cached_tokens")),
        int_of(object_of(told.get("output_tokens_details")).get("reasoning_tokens")),
    )
    return None if usage == Usage() else usage


class ResponseStreamDecoder(EventStreamDecoder[ResponseEvent]):
    """Turns the bytes of one response into events; see `EventStreamDecoder`."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(_decode, read_event, decode_response, max_event_bytes=max_event_bytes)
        self._calls: dict[int, int] = {}
        self._told: Mapping[str, Any] = {}

    def _chunk(self, chunk: ResponseEvent, data: bytes, events: list[Event]) -> None:
        kind = chunk.type
        if kind in PIECES:
            if chunk.delta:
                events.append(PIECES[kind](chunk.delta))
        elif kind in ENDINGS:
            self._ended(kind, load_object(bytes(chunk.response) or b"{}"), events)
        elif kind == "response.function_call_arguments.delta":
            if chunk.delta and chunk.output_index in self._calls:
                events.append(ToolCallDelta(self._calls[chunk.output_index], "", "", chunk.delta))
        elif kind == "response.output_item.added":
            self._item(chunk, events)
        elif kind == "response.created":
            self._head(load_object(bytes(chunk.response) or b"{}"))
        elif kind.endswith((".delta", ".partial_image")):
            events.append(PIECE)
        elif kind in NO_EVENTS:
            raise stream_failure(data)

    def _head(self, response: Object) -> None:
        self.model = text_of(response.get("model")) or ""
        self.id = text_of(response.get("id"))

    def _item(self, chunk: ResponseEvent, events: list[Event]) -> None:
        item = load_object(bytes(chunk.item) or b"{}")
        if item.get("type") == "function_call":
            number = self._calls[chunk.output_index] = len(self._calls)
            identity, name = text_of(item.get("call_id")) or "", text_of(item.get("name")) or ""
            events.append(ToolCallDelta(number, identity, name, text_of(item.get("arguments")) or ""))

    def _ended(self, kind: str, response: Object, events: list[Event]) -> None:
        if kind == "response.failed":
            raise _failure(response)
        self._told = response
        if not self.model:
            self._head(response)
        self.finish_reason = _reason(response, calls=bool(self._calls))
        self._finish(events, marked=True)

    def _usage(self) -> Usage | None:
        return read_usage(self._told.get("usage"))

    def _names_no_reasons(self) -> bool:
        return False


def _failure(response: Object) -> BackendFailure:
    return stream_failure(
        json_text({"error": response.get("error") or {"message": "the response failed"}}).encode()
    )
