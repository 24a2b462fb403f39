"""Answers and errors as JSON."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_llm.errors import LLMError
    from resilient_llm.models import Attempt, Completion


_ESCAPES: Final = {code: f"\\u{code:04x}" for code in range(127, 160)}


def write(value: Mapping[str, Any]) -> None:
    """Write an object on a line; control characters that JSON leaves as they are, and terminals obey, as escapes."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False).translate(_ESCAPES) + "\n")
    sys.stdout.flush()


def completion(done: Completion) -> dict[str, Any]:
    """A completion's fields, but for the messages that were sent."""
    return {
        "text": done.text,
        "reasoning": done.reasoning,
        "tool_calls": [attrs.asdict(call) for call in done.tool_calls],
        "finish_reason": done.finish_reason,
        "usage": attrs.asdict(done.usage),
        "model": done.model,
        "backend": done.backend,
        "request_id": done.request_id,
        "attempts": done.attempts,
        "cached": done.cached,
        "trace": [_attempt(attempt) for attempt in done.trace],
        "pruned": None if done.pruned is None else attrs.asdict(done.pruned),
    }


def error(failed: LLMError) -> dict[str, Any]:
    """An error's fields."""
    return {
        "code": str(failed.code),
        "message": failed.message,
        "hint": failed.hint,
        "retryable": failed.retryable,
        "retry_after": failed.retry_after,
        "status": failed.status,
        "backend": failed.backend,
        "model": failed.model,
        "request_id": failed.request_id,
        "attempts": failed.attempts,
        "trace": [_attempt(attempt) for attempt in failed.trace],
        "partial": None if failed.partial is None else failed.partial.text,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    failed = attempt.error
    return {
        "number": attempt.number,
        "backend": attempt.backend,
        "duration": round(attempt.duration, 6),
        "waited": round(attempt.waited, 3),
        "error": None if failed is None else {"code": str(failed.code), "message": failed.message},
    }
