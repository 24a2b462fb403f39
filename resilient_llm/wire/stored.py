"""Answers as bytes, to be kept and handed over again: JSON that every process can read."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import msgspec

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
from resilient_llm.models import Embeddings

if TYPE_CHECKING:
    from collections.abc import Sequence

SOUND: Final = frozenset({"stop", "tool_calls", "function_call"})
"""The finish reasons of answers that are as their model meant them: neither cut nor filtered."""

KINDS: Final[dict[str, type]] = {
    "text": TextDelta,
    "reasoning": ReasoningDelta,
    "tool_call": ToolCall,
    "usage": UsageEvent,
    "embeddings": Embeddings,
    "finish": Finish,
}
NAMES: Final = {kind: name for name, kind in KINDS.items()}


class StoredAnswer(msgspec.Struct, omit_defaults=True):
    """A whole answer.

    Args:
        events: Each with the name of its kind.
        model: The model that answered.
        backend: The transport that answered.
        request_id: The backend's id of the request that was answered.
        body: The bytes of an answer that came whole.
        extra: What the assistant's message carries beside text and calls.
    """

    events: list[tuple[str, Any]]
    model: str = ""
    backend: str = ""
    request_id: str | None = None
    body: bytes | None = None
    extra: dict[str, Any] = {}


def dump(events: Sequence[Event], **known: Any) -> bytes | None:
    """Write an answer; None if it is not one to be kept: cut, filtered, restarted, or nothing that JSON can say.

    Args:
        events: What was handed over, `Finish` last.
        known: The other fields of `StoredAnswer`.
    """
    last = events[-1] if events else None
    if not isinstance(last, Finish) or last.reason not in SOUND:
        return None
    try:
        return msgspec.json.encode(StoredAnswer([_named(event) for event in merged(events)], **known))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None


def load(data: bytes) -> tuple[StoredAnswer, list[Event]] | None:
    """Read an answer and its events; None if this is not what `dump` wrote."""
    try:
        stored = msgspec.json.decode(data, type=StoredAnswer)
        events = [_event(name, fields) for name, fields in stored.events]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return (stored, events) if events and isinstance(events[-1], Finish) else None


def merged(events: Sequence[Event]) -> list[Event]:
    """The events with neighbouring pieces of text in one, and without the fragments of calls, which follow whole."""
    out: list[Event] = []
    for kind, run in groupby((event for event in events if not isinstance(event, ToolCallDelta)), type):
        if kind is TextDelta or kind is ReasoningDelta:
            out.append(kind("".join(event.text for event in run)))  # type: ignore[union-attr] # all of one kind
        else:
            out.extend(run)
    return out


def _named(event: Event) -> tuple[str, object]:
    value = event.value if isinstance(event, Result) else event
    return NAMES[type(value)], value


def _event(name: str, fields: object) -> Event:
    value: Any = msgspec.convert(fields, KINDS[name])
    return Result(value) if isinstance(value, Embeddings) else value
