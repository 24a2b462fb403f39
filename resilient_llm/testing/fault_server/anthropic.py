"""Anthropic's dialect: messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .dialect import Dialect, Written, encode
from .reply import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .asked import Body
    from .reply import Call, Turn

STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
PADDING = 12
"""Up to so many spaces stand before the last brace of an event, a different number in each."""


class AnthropicMessages(Dialect):
    """`/v1/messages`."""

    id_header = "request-id"
    beat = b'event: ping\ndata: {"type": "ping"}\n\n'

    def complaint(self, body: Body, headers: Body) -> str:
        """What the API is strict about: its version, a length, roles that begin with the user's, a single key."""
        roles = [message.get("role") for message in body.get("messages") or ()]
        if "anthropic-version" not in headers:
            return "anthropic-version: header is required"
        if not isinstance(body.get("max_tokens"), int):
            return "max_tokens: Field required"
        if not roles or set(roles) - {"user", "assistant"}:
            return "messages: roles must be user or assistant"
        return "" if roles[0] == "user" else "messages: first message must use the user role"

    def whole(self, turn: Turn) -> bytes:
        """A message."""
        blocks = [_block(kind, what) for kind, what in _said(turn)]
        return encode(_message(turn, blocks, STOPS.get(turn.stop, turn.stop), turn.usage.completion_tokens))

    def hollow(self, turn: Turn) -> bytes:
        """A message without content, and no reason why."""
        return encode(_message(turn, [], None, 0))

    def stream(self, turn: Turn) -> Written:
        """Events: the message's beginning, its blocks in pieces, a ping after the first, the reason, the end."""
        pieces = [
            piece
            for index, (kind, what) in enumerate(_said(turn))
            for piece in _block_events(index, kind, what)
        ]
        if pieces:
            pieces[0] += self.beat
        told = turn.usage
        delta = {"stop_reason": STOPS.get(turn.stop, turn.stop), "stop_sequence": None}
        cost = {"input_tokens": _fresh(turn), "output_tokens": told.completion_tokens}
        return Written(
            opening=_event("message_start", message=_message(turn, [], None, 1)),
            pieces=pieces,
            finish=_event("message_delta", delta=delta, usage=cost),
            end=_event("message_stop"),
        )

    def error_event(self, error: bytes) -> bytes:
        """An event that is an error."""
        return b"event: error\ndata: " + error + b"\n\n"


def _said(turn: Turn) -> Iterator[tuple[str, Any]]:
    """The blocks: a thought, a text, calls."""
    reply = turn.reply
    if reply.reasoning:
        yield "thinking", reply.reasoning
    if reply.text:
        yield "text", reply.text
    for call in reply.calls:
        yield "tool_use", call


def _block(kind: str, what: Any) -> dict[str, Any]:
    if kind == "tool_use":
        return {"type": kind, "id": what.id, "name": what.name, "input": what.value}
    return {"type": kind, kind: what} | ({"signature": "c2lnbmVk"} if kind == "thinking" else {})


def _block_events(index: int, kind: str, what: Any) -> list[bytes]:
    """A block in pieces: its beginning comes with the first, its end with the last."""
    deltas = (
        _call_deltas(what)
        if kind == "tool_use"
        else [{"type": f"{kind}_delta", kind: word} for word in words(what)]
    )
    if kind == "thinking":
        deltas.append({"type": "signature_delta", "signature": "c2lnbmVk"})
    pieces = [_event("content_block_delta", index=index, delta=delta) for delta in deltas]
    begun = _block(kind, what) | {"input" if kind == "tool_use" else kind: {} if kind == "tool_use" else ""}
    if kind == "thinking":
        begun["signature"] = ""
    pieces[0] = _event("content_block_start", index=index, content_block=begun) + pieces[0]
    pieces[-1] += _event("content_block_stop", index=index)
    return pieces


def _call_deltas(call: Call) -> list[dict[str, str]]:
    fragments = ["", *call.fragments] if call.text != "{}" else [""]
    return [{"type": "input_json_delta", "partial_json": piece} for piece in fragments]


def _message(turn: Turn, content: list[Any], stop: str | None, output: int | None) -> dict[str, Any]:
    usage = {
        "input_tokens": _fresh(turn),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": turn.usage.cached_tokens or 0,
        "output_tokens": output,
        "service_tier": "standard",
    }
    return {
        "id": f"msg_{turn.number}",
        "type": "message",
        "role": "assistant",
        "model": turn.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }


def _fresh(turn: Turn) -> int:
    """The tokens that came from no cache, which are told apart."""
    return (turn.usage.prompt_tokens or 0) - (turn.usage.cached_tokens or 0)


def _event(kind: str, **fields: object) -> bytes:
    body = encode({"type": kind, **fields})
    padded = body[:-1] + b" " * (len(body) % PADDING) + b"}"
    return b"event: " + kind.encode() + b"\ndata: " + padded + b"\n\n"
