"""OpenAI's chat stream, as OpenAI and everyone who claims compatibility writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import msgspec
from msgspec import UNSET

from resilient_llm.events import Event, ReasoningDelta, TextDelta, ToolCallDelta

from .openai_calls import CallNumbering
from .openai_functions import as_function, reason_of
from .openai_response import decode_chat
from .openai_shapes import Choice, Chunk, Delta, finish_word, read_chunk
from .payload import loads, object_of, says_error, stream_failure, usage_of
from .sse import MAX_EVENT_BYTES
from .stream import EventStreamDecoder

if TYPE_CHECKING:
    from resilient_llm.models import Usage

    from .openai_response import ChatAnswer

_decode = msgspec.json.Decoder(Chunk).decode


def _decode_function(body: bytes) -> ChatAnswer:
    return as_function(decode_chat(body))


class ChatStreamDecoder(EventStreamDecoder[Chunk]):
    """Turns the bytes of one streamed answer into events; see `EventStreamDecoder`.

    Args:
        legacy: Give tool calls as a function call: the caller asked with `functions`.
        max_event_bytes: The longest event.
    """

    def __init__(self, *, legacy: bool = False, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        whole = _decode_function if legacy else decode_chat
        super().__init__(_decode, read_chunk, whole, max_event_bytes=max_event_bytes)
        self._calls = CallNumbering()
        self._legacy = legacy
        self._choice: Choice | None = None
        self._told: dict[str, object] | None = None

    def _chunk(self, chunk: Chunk, data: bytes, events: list[Event]) -> None:
        choices = chunk.choices
        if chunk.error or (choices is UNSET and says_error(object_of(loads(data)))):
            raise stream_failure(data)
        if chunk.usage:
            self._told = chunk.usage
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
            placed = map(self._calls.place, delta.tool_calls)
            events += (attrs.evolve(call, id="") for call in placed) if self._legacy else placed
        if delta.function_call is not None:
            function = delta.function_call
            events.append(ToolCallDelta(0, "", function.name or "", function.arguments or ""))

    def _stopped(self, choice: Choice, chunk: Chunk, data: bytes) -> None:
        self.finish_reason = finish_word(choice.finish_reason)
        if self._legacy:
            self.finish_reason = reason_of(self.finish_reason)
        if self.finish_reason == "error":
            raise stream_failure(data)
        if chunk.x_groq is not None and not self._told:
            self._told = chunk.x_groq.usage

    def _usage(self) -> Usage | None:
        return usage_of(self._told)

    def _names_no_reasons(self) -> bool:
        return self._choice is not None and self._choice.finish_reason is UNSET
