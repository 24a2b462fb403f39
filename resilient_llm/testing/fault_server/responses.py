"""OpenAI's Responses dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .dialect import Dialect, Written, encode, event
from .openai import CREATED
from .reply import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .reply import Call, Turn

REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a response is incomplete."""


class OpenAIResponses(Dialect):
    """`/v1/responses`."""

    def whole(self, turn: Turn) -> bytes:
        """A response."""
        return encode(_response(turn, _status(turn), [item for item, _ in _items(turn)]))

    def hollow(self, turn: Turn) -> bytes:
        """A response without output."""
        return encode(_response(turn, "completed", []))

    def stream(self, turn: Turn) -> Written:
        """Named events with numbers: the response, its items in pieces, the whole response again."""
        events = _Events()
        begun = {"response": _response(turn, "in_progress", [])}
        opening = events.write("response.created", begun) + events.write("response.in_progress", begun)
        items = list(_items(turn))
        pieces = [
            piece
            for index, (item, what) in enumerate(items)
            for piece in _item_events(events, index, item, what)
        ]
        status = _status(turn)
        done = {"response": _response(turn, status, [item for item, _ in items])}
        return Written(opening, pieces, finish=events.write(f"response.{status}", done), end=b"")

    def error_event(self, error: bytes) -> bytes:
        """An event that is an error."""
        return b'event: error\ndata: {"type": "error", "sequence_number": 99, ' + error[1:] + b"\n\n"


class _Events:
    """Writes events and numbers them."""

    def __init__(self) -> None:
        self._number = 0

    def write(self, kind: str, fields: Mapping[str, object]) -> bytes:
        number, self._number = self._number, self._number + 1
        return event({"type": kind, "sequence_number": number, **fields}, kind)


def _items(turn: Turn) -> Iterator[tuple[dict[str, Any], str | Call]]:
    """The items of the output, and what each is made of."""
    reply, number = turn.reply, turn.number
    if reply.reasoning:
        summary = [_summary(reply.reasoning)]
        yield {"id": f"rs_{number}", "type": "reasoning", "summary": summary}, reply.reasoning
    if reply.text or not reply.calls:
        yield _message(number, "completed", [_part(reply.text)]), reply.text
    for call in reply.calls:
        yield _call(call, "completed", call.text), call


def _item_events(events: _Events, index: int, item: dict[str, Any], what: str | Call) -> list[bytes]:
    """An item in pieces: its beginning comes with the first, its end with the last."""
    at: dict[str, object] = {"item_id": item["id"], "output_index": index}
    begun = events.write("response.output_item.added", {"output_index": index, "item": _empty(item)})
    if not isinstance(what, str):
        pieces = _deltas(events, "function_call_arguments", at, what.fragments, {"arguments": what.text})
    elif item["type"] == "reasoning":
        at["summary_index"] = 0
        begun += events.write("response.reasoning_summary_part.added", {**at, "part": _summary("")})
        pieces = _deltas(events, "reasoning_summary_text", at, words(what), {"text": what})
        pieces[-1] += events.write("response.reasoning_summary_part.done", {**at, "part": _summary(what)})
    else:
        at["content_index"] = 0
        begun += events.write("response.content_part.added", {**at, "part": _part("")})
        pieces = _deltas(events, "output_text", {**at, "logprobs": []}, words(what), {"text": what})
        pieces[-1] += events.write("response.content_part.done", {**at, "part": _part(what)})
    pieces[0] = begun + pieces[0]
    pieces[-1] += events.write("response.output_item.done", {"output_index": index, "item": item})
    return pieces


def _deltas(
    events: _Events,
    kind: str,
    at: Mapping[str, object],
    pieces: Iterator[str] | list[str],
    done: Mapping[str, str],
) -> list[bytes]:
    written = [events.write(f"response.{kind}.delta", {**at, "delta": piece}) for piece in pieces] or [b""]
    written[-1] += events.write(f"response.{kind}.done", {**at, **done})
    return written


def _empty(item: dict[str, Any]) -> dict[str, Any]:
    """An item before its first piece."""
    empty: dict[str, Any] = {"summary": []} if item["type"] == "reasoning" else {"status": "in_progress"}
    if item["type"] == "message":
        empty["content"] = []
    if item["type"] == "function_call":
        empty["arguments"] = ""
    return {**item, **empty}


def _message(number: int, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call(call: Call, status: str, arguments: str) -> dict[str, Any]:
    return {
        "id": f"fc_{call.id}",
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments,
        "status": status,
    }


def _status(turn: Turn) -> str:
    return "incomplete" if turn.stop in REASONS else "completed"


def _response(turn: Turn, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    told = turn.usage
    usage = {
        "input_tokens": told.prompt_tokens,
        "input_tokens_details": {"cached_tokens": told.cached_tokens or 0},
        "output_tokens": told.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": told.reasoning_tokens or 0},
        "total_tokens": told.total_tokens,
    }
    return {
        "id": f"resp_{turn.number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": REASONS[turn.stop]} if status == "incomplete" else None,
        "instructions": turn.body.get("instructions"),
        "metadata": {},
        "model": turn.model,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None if status == "in_progress" else usage,
    }
