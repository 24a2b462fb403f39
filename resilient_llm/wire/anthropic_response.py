"""Anthropic's whole answers: messages, pages of models, counts of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, ToolCall, UsageEvent

from .anthropic_shapes import Answer, Block, read_answer, stop_word
from .messages import ANTHROPIC_CONTENT
from .openai_models import decode_models
from .openai_response import ChatAnswer
from .payload import body_failure, int_of, load_object, object_of, objects_of, reject_error, text_of

if TYPE_CHECKING:
    from resilient_llm.models import ModelInfo

_decode_answer = msgspec.json.Decoder(Answer).decode


def decode_chat(body: bytes, *, legacy: bool = False) -> ChatAnswer:
    """Decode a message whose status was 200.

    Args:
        body: The bytes.
        legacy: The caller knows functions but no tools: calls have no ids then.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: No JSON object, no content, or nothing said without a stop reason.
    """
    try:
        answer = _decode_answer(body)
    except (ValueError, RecursionError):
        answer = read_answer(body)
    if answer.error or answer.type == "error":
        raise body_failure(body)
    reason = stop_word(answer.stop_reason)
    if answer.content is None and reason is None:
        msg = "the answer holds no content"
        raise ModelResponseInvalidError(msg)
    blocks = answer.content or []
    events = _said(blocks, legacy=legacy)
    if not events and reason is None:
        msg = "the answer is empty and gives no stop reason"
        raise ModelResponseInvalidError(msg)
    if answer.usage and (usage := answer.usage.told()):
        events.append(UsageEvent(usage))
    events.append(Finish(finish_word(reason or "stop", legacy=legacy)))
    extra = {} if all(block.is_said for block in blocks) else _kept(body)
    return ChatAnswer(events, answer.model or "", answer.id, body, extra)


def finish_word(reason: str, *, legacy: bool) -> str:
    """The finish reason as the caller knows it."""
    return "function_call" if legacy and reason == "tool_calls" else reason


def decode_page(body: bytes) -> tuple[list[ModelInfo], str | None]:
    """Decode a page of models, and the id after which the next page begins; None on the last one.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: It holds no list of models.
    """
    models = decode_models(body)
    page = object_of(load_object(body)) if models else {}
    return models, text_of(page.get("last_id")) if page.get("has_more") else None


def decode_count(body: bytes) -> int:
    """Decode a count of tokens.

    Raises:
        BackendFailure: The body says an error, which the classifier judges.
        ModelResponseInvalidError: It holds no count.
    """
    answer = load_object(body)
    reject_error(answer, body)
    count = int_of(answer.get("input_tokens"))
    if count is None:
        msg = "the answer holds no count of tokens"
        raise ModelResponseInvalidError(msg)
    return count


def _said(blocks: list[Block], *, legacy: bool) -> list[Event]:
    """What the blocks say, in their order."""
    events: list[Event] = []
    calls = 0
    for block in blocks:
        if block.text and block.type in {"text", None}:
            events.append(TextDelta(block.text))
        elif block.thinking:
            events.append(ReasoningDelta(block.thinking))
        elif block.type == "tool_use":
            identity = "" if legacy else block.id or f"call_{calls}"
            events.append(ToolCall(calls, identity, block.name or "", block.arguments or "{}"))
            calls += 1
    return events


def _kept(body: bytes) -> dict[str, Any]:
    """The blocks as they came, to be sent back."""
    return {ANTHROPIC_CONTENT: [dict(block) for block in objects_of(load_object(body).get("content"))]}
