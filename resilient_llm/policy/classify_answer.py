"""Answers with status 200 that are none: an error in disguise, a safety block, a web page, nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resilient_llm.errors import ErrorCode

from .classify_body import squeeze
from .classify_text import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

FINISHES: Final = {
    **dict.fromkeys(
        (
            "contentfilter",
            "contentfiltered",
            "safety",
            "refusal",
            "prohibitedcontent",
            "blocklist",
            "spii",
            "recitation",
            "imagesafety",
            "imageprohibitedcontent",
            "sensitive",
            "errortoxic",
            "guardrailintervened",
            "moderation",
            "language",
        ),
        ErrorCode.MODEL_CONTENT_FILTERED,
    ),
    "modelcontextwindowexceeded": ErrorCode.MODEL_CONTEXT_LENGTH,
    "insufficientsystemresource": ErrorCode.MODEL_OVERLOADED,  # DeepSeek
    "networkerror": ErrorCode.MODEL_UNAVAILABLE,  # Zhipu
    "error": ErrorCode.MODEL_UNAVAILABLE,  # OpenRouter, Cohere
}
"""Finish reasons that are failures; of OpenAI, Anthropic, Google, Cohere, Bedrock, Zhipu."""

_MESSAGES: Final = frozenset({"message", "Message", "detail", "msg", "error_code", "errorMessage"})
_ANSWERS: Final = frozenset(
    {"choices", "candidates", "content", "output", "response", "delta", "usage", "done", "role"}
)
_REASONS: Final = (
    "finish_reason",
    "finishReason",
    "stop_reason",
    "stopReason",
    "native_finish_reason",
    "reason",
)


def says_error(value: Any) -> bool:
    """Is this an error, or does it carry one beside or instead of an answer?"""
    if isinstance(value, list):
        return any(says_error(item) for item in value[:5])
    return isinstance(value, dict) and (_named_error(value) or _inner_error(value) or _bare_error(value))


def _named_error(value: dict[Any, Any]) -> bool:
    return (
        bool(value.get("error") or value.get("errors"))
        or value.get("type") == "error"
        or value.get("object") == "error"
    )


def _inner_error(value: dict[Any, Any]) -> bool:
    """MiniMax's `base_resp`, the `response` of OpenAI's Responses, a choice of OpenRouter's."""
    inner = [value.get("base_resp"), value.get("response"), *_items(value, "choices")]
    return any(
        isinstance(item, dict) and bool(item.get("error") or item.get("status_code")) for item in inner
    )


def _bare_error(value: dict[Any, Any]) -> bool:
    """A message with no answer beside it; Anthropic's `message` is an object."""
    said = any(isinstance(value.get(name), str | list | int) for name in _MESSAGES)
    return said and value.keys().isdisjoint(_ANSWERS)


def _items(value: dict[Any, Any], name: str) -> list[Any]:
    items = value.get(name)
    return items[:8] if isinstance(items, list) else []


def _parts(value: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
    """Where a finish reason or a refusal may stand, from the outside inwards."""
    choices = [*_items(value, "choices"), *_items(value, "candidates")]
    for outer in (value, *(choice for choice in choices if isinstance(choice, dict))):
        yield outer
        for name in ("delta", "message", "response", "incomplete_details", "promptFeedback"):
            inner = outer.get(name)
            if isinstance(inner, dict):
                yield inner
                details = inner.get("incomplete_details")
                yield details if isinstance(details, dict) else {}


def finish_failure(value: Any) -> tuple[ErrorCode, str] | None:
    """Find a finish reason that is a failure, and say it."""
    if not isinstance(value, dict):
        return None
    for part in _parts(value):
        if reason := part.get("blockReason"):  # Google's promptFeedback
            return ErrorCode.MODEL_CONTENT_FILTERED, shorten(f"the prompt was blocked: {reason}")
        for name in _REASONS:
            reason = part.get(name)
            if isinstance(reason, str) and (code := FINISHES.get(squeeze(reason))):
                return code, f"the answer ended with {name} {reason!r}"
        if isinstance(refusal := part.get("refusal"), str) and refusal:
            return ErrorCode.MODEL_CONTENT_FILTERED, "the model refused"
    return None
