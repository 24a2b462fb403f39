"""OpenAI's whole answers: chat, embeddings, the list of models."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import msgspec

from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, ToolCall, UsageEvent
from resilient_llm.models import Embeddings, Usage

from .openai_shapes import Answer, Delta, Function, finish_word, read_answer
from .payload import body_failure, load_object, reject_error, text_of, usage_of

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.define
class ChatAnswer:
    """A whole answer as events, `Finish` last.

    Args:
        events: What a stream would have brought; tool calls are whole.
        model: The model as the backend names it.
        id: The backend's id of the answer.
        body: The bytes.
        extra: What the assistant's message carries beside text and calls.
    """

    events: list[Event]
    model: str
    id: str | None
    body: bytes = attrs.field(repr=False)
    extra: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


def decode_chat(body: bytes) -> ChatAnswer:
    """Decode the body of a chat completion whose status was 200.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: No JSON object, no choices, or nothing said without a finish reason.
    """
    try:
        answer = _decode_answer(body)
    except (ValueError, RecursionError):
        answer = read_answer(body)
    if answer.error or answer.kind == "error" or answer.type == "error":
        raise body_failure(body)
    if not answer.choices:
        msg = "the answer holds no choices"
        raise ModelResponseInvalidError(msg)
    choice = answer.choices[0]
    reason = finish_word(choice.finish_reason)
    if choice.error or reason == "error":
        raise body_failure(body)
    events = _said(choice.message) if choice.message else []
    if not events and reason is None:
        msg = "the answer is empty and gives no finish reason"
        raise ModelResponseInvalidError(msg)
    if answer.usage and (usage := answer.usage.told()):
        events.append(UsageEvent(usage))
    events.append(Finish(reason or "stop"))
    return ChatAnswer(events, answer.model or "", answer.id, body)


def _said(message: Delta) -> list[Event]:
    """What a message says, in the order in which a stream would have brought it."""
    events: list[Event] = []
    reasoning = message.reasoning_content or message.reasoning
    if reasoning:
        events.append(ReasoningDelta(reasoning))
    text = message.content or message.refusal
    if text:
        events.append(TextDelta(text))
    for number, call in enumerate(message.tool_calls or ()):
        function = call.function or Function()
        identity = call.id or f"call_{number}"
        events.append(ToolCall(number, identity, function.name or "", function.arguments or ""))
    legacy = message.function_call
    if legacy is not None:
        events.append(ToolCall(0, "", legacy.name or "", legacy.arguments or ""))
    return events


class _Vector(msgspec.Struct, gc=False):
    embedding: list[float] | str
    index: int | None = None


class _Vectors(msgspec.Struct, gc=False):
    data: Annotated[list[_Vector], msgspec.Meta(min_length=1)]
    model: object = None
    usage: object = None


_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_vectors = msgspec.json.Decoder(_Vectors).decode


def decode_embeddings(body: bytes) -> Embeddings:
    """Decode vectors, in the order of the texts; they may be lists or base64 of little-endian 32-bit floats.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: It is no list of vectors.
    """
    try:
        answer = _decode_vectors(body)
        vectors = [_floats(item.embedding) for item in sorted(answer.data, key=_index)]
    except (ValueError, RecursionError, struct.error) as error:
        reject_error(load_object(body), body)
        msg = "the answer holds no usable embeddings"
        raise ModelResponseInvalidError(msg) from error
    return Embeddings(vectors, text_of(answer.model) or "", usage_of(answer.usage) or Usage())


def _index(item: _Vector) -> int:
    return item.index or 0


def _floats(vector: list[float] | str) -> list[float]:
    if not isinstance(vector, str):
        return vector
    packed = base64.b64decode(vector, validate=True)
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))
