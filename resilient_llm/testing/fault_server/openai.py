"""OpenAI's dialect, which most local servers speak too: chats and embeddings."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

from .asked import inputs, tokens
from .dialect import Dialect, Written, encode, event
from .reply import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .asked import Body
    from .reply import Turn

CREATED = 1_800_000_000


class OpenAIChat(Dialect):
    """`/v1/chat/completions`; functions of the old kind are called if they are offered."""

    def whole(self, turn: Turn) -> bytes:
        """A completion."""
        reply = turn.reply
        message: dict[str, object] = {"role": "assistant", "content": reply.text}
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if reply.calls:
            message["content"] = reply.text or None
            message |= _legacy(turn) if _is_legacy(turn) else {"tool_calls": _calls(turn)}
        choice = {"index": 0, "message": message, "finish_reason": _stop(turn)}
        return encode({**_head(turn, "chat.completion"), "choices": [choice], "usage": usage(turn)})

    def hollow(self, turn: Turn) -> bytes:
        """A completion without choices."""
        return encode({**_head(turn, "chat.completion"), "choices": [], "usage": usage(turn)})

    def stream(self, turn: Turn) -> Written:
        """Chunks: a role and no content; thoughts, words, calls; the finish reason; the usage if asked for."""
        with_usage = bool((turn.body.get("stream_options") or {}).get("include_usage"))
        head = _head(turn, "chat.completion.chunk") | ({"usage": None} if with_usage else {})
        finish = _chunk(head, {}, _stop(turn))
        if with_usage:
            finish += event({**head, "choices": [], "usage": usage(turn)})
        return Written(
            opening=_chunk(head, {"role": "assistant", "content": ""}),
            pieces=[_chunk(head, delta) for delta in _deltas(turn)],
            finish=finish,
            end=b"data: [DONE]\n\n",
        )

    def error_event(self, error: bytes) -> bytes:
        """A chunk that is an error."""
        return b"data: " + error + b"\n\n"


class OpenAIEmbeddings(Dialect):
    """`/v1/embeddings`, as lists or as base64."""

    def streams(self, body: Body) -> bool:
        """Never."""
        del body
        return False

    def count(self, body: Body) -> int:
        """The texts' size."""
        return sum(map(tokens, inputs(body)))

    def whole(self, turn: Turn) -> bytes:
        """The vectors."""
        vectors = turn.vectors(inputs(turn.body), turn.body.get("dimensions"))
        packed = turn.body.get("encoding_format") == "base64"
        data: list[dict[str, object]] = [
            {"object": "embedding", "index": index, "embedding": _pack(vector) if packed else list(vector)}
            for index, vector in enumerate(vectors)
        ]
        return self._list(turn, data)

    def hollow(self, turn: Turn) -> bytes:
        """No vectors."""
        return self._list(turn, [])

    def _list(self, turn: Turn, data: list[dict[str, object]]) -> bytes:
        size = {"prompt_tokens": turn.prompt_tokens, "total_tokens": turn.prompt_tokens}
        return encode({"object": "list", "data": data, "model": turn.model, "usage": size})


def usage(turn: Turn) -> dict[str, object]:
    """The usage of a chat."""
    told = turn.usage
    counts: dict[str, object] = {
        "prompt_tokens": told.prompt_tokens,
        "completion_tokens": told.completion_tokens,
        "total_tokens": told.total_tokens,
    }
    if told.cached_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": told.cached_tokens}
    if told.reasoning_tokens is not None:
        counts["completion_tokens_details"] = {"reasoning_tokens": told.reasoning_tokens}
    return counts


def _head(turn: Turn, kind: str) -> dict[str, object]:
    return {"id": f"chatcmpl-{turn.number}", "object": kind, "created": CREATED, "model": turn.model}


def _chunk(
    head: Mapping[str, object], delta: Mapping[str, object], finish_reason: str | None = None
) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return event({**head, "choices": [choice]})


def _deltas(turn: Turn) -> Iterator[Mapping[str, Any]]:
    reply = turn.reply
    for word in words(reply.reasoning):
        yield {"reasoning_content": word}
    for word in words(reply.text):
        yield {"content": word}
    if _is_legacy(turn):
        call = reply.calls[0]
        yield {"function_call": {"name": call.name, "arguments": ""}}
        yield from ({"function_call": {"arguments": piece}} for piece in call.fragments)
        return
    for index, call in enumerate(reply.calls):
        function = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]}
        for piece in call.fragments:
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _calls(turn: Turn) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
        for call in turn.reply.calls
    ]


def _is_legacy(turn: Turn) -> bool:
    return bool(turn.reply.calls and turn.body.get("functions"))


def _legacy(turn: Turn) -> dict[str, Any]:
    call = turn.reply.calls[0]
    return {"function_call": {"name": call.name, "arguments": call.text}}


def _stop(turn: Turn) -> str:
    return "function_call" if _is_legacy(turn) and turn.stop == "tool_calls" else turn.stop


def _pack(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
