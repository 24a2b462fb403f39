"""OpenAI's whole answers: chat, embeddings, the list of models."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping  # noqa: TC003 - attrs resolves annotations
from typing import Annotated, Any

import attrs
import msgspec

from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, ToolCall, UsageEvent
from resilient_llm.models import Embeddings, Usage

from .openai_shapes import Delta, Function, finish_word, read_delta
from .payload import load_object, objects_of, reject_error, text_of, usage_of


@attrs.frozen
class ChatAnswer:
    """A whole answer as events, `Finish` last.

    Args:
        events: What a stream would have brought; tool calls are whole.
        model: The model as the backend names it.
        id: The backend's id of the answer.
        raw: The decoded body.
    """

    events: list[Event]
    model: str
    id: str | None
    raw: Mapping[str, Any] = attrs.field(repr=False)


def decode_chat(body: bytes) -> ChatAnswer:
    """Decode the body of a chat completion whose status was 200.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: No JSON object, no choices, or nothing said without a finish reason.
    """
    raw = load_object(body)
    reject_error(raw, body)
    choices = objects_of(raw.get("choices"))
    if not choices:
        msg = "the answer holds no choices"
        raise ModelResponseInvalidError(msg)
    choice = choices[0]
    reason = finish_word(choice.get("finish_reason"))
    reject_error({"error": choice.get("error") or reason == "error"}, body)
    events = list(_said(read_delta(choice.get("message"))))
    if not events and reason is None:
        msg = "the answer is empty and gives no finish reason"
        raise ModelResponseInvalidError(msg)
    usage = usage_of(raw.get("usage"))
    if usage is not None:
        events.append(UsageEvent(usage))
    events.append(Finish(reason or "stop"))
    return ChatAnswer(events, text_of(raw.get("model")) or "", text_of(raw.get("id")), raw)


def _said(message: Delta) -> Iterator[Event]:
    """What a message says, in the order in which a stream would have brought it."""
    reasoning = message.reasoning_content or message.reasoning
    if reasoning:
        yield ReasoningDelta(reasoning)
    text = message.content or message.refusal
    if text:
        yield TextDelta(text)
    for number, call in enumerate(message.tool_calls or ()):
        function = call.function or Function()
        yield ToolCall(number, call.id or f"call_{number}", function.name or "", function.arguments or "")
    legacy = message.function_call
    if legacy is not None:
        yield ToolCall(0, "", legacy.name or "", legacy.arguments or "")


class _Vector(msgspec.Struct, gc=False):
    embedding: list[float] | str
    index: int | None = None


class _Vectors(msgspec.Struct, gc=False):
    data: Annotated[list[_Vector], msgspec.Meta(min_length=1)]
    model: object = None
    usage: object = None


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
