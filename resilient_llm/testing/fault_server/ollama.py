"""Ollama's own dialect: chats, completions, embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .asked import inputs, tokens
from .dialect import Dialect, Written, encode
from .reply import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .asked import Body
    from .reply import Turn

CREATED = "2027-01-15T08:00:00.0Z"
DURATIONS = {
    "total_duration": 512_000_000,
    "load_duration": 2_000_000,
    "prompt_eval_duration": 110_000_000,
    "eval_duration": 300_000_000,
}
"""In nanoseconds."""


class OllamaChat(Dialect):
    """`/api/chat`. Streams unless it is told not to; cuts what is too long without a word."""

    kind = "application/x-ndjson"
    beat = b"\n"
    truncates = True

    def streams(self, body: Body) -> bool:
        """Unless told not to."""
        return body.get("stream") is not False

    def complaint(self, body: Body, headers: Body) -> str:
        """Contents must be texts."""
        del headers
        wrong = [
            message
            for message in body.get("messages") or ()
            if not isinstance(message.get("content", ""), str)
        ]
        return "json: cannot unmarshal array into Go struct field" if wrong else ""

    def whole(self, turn: Turn) -> bytes:
        """One object."""
        calls = {"tool_calls": _calls(turn)} if turn.reply.calls else {}
        return encode(self._line(turn, turn.reply.text, turn.reply.reasoning, calls) | _end(turn))

    def hollow(self, turn: Turn) -> bytes:
        """An object that says nothing and has no reason to end."""
        return encode(self._line(turn, "", "", {}))

    def stream(self, turn: Turn) -> Written:
        """A line for each thought and word and for each call, which comes whole; the last says that it is done."""
        return Written(
            opening=b"",
            pieces=[_newline(line) for line in self._lines(turn)],
            finish=_newline(self._line(turn, "", "", {}) | _end(turn)),
            end=b"",
        )

    def error_event(self, error: bytes) -> bytes:
        """A line that is an error."""
        return error + b"\n"

    def _lines(self, turn: Turn) -> Iterator[dict[str, Any]]:
        for word in words(turn.reply.reasoning):
            yield self._line(turn, "", word, {})
        for word in words(turn.reply.text):
            yield self._line(turn, word, "", {})
        for call in _calls(turn):
            yield self._line(turn, "", "", {"tool_calls": [call]})

    def _line(self, turn: Turn, text: str, thought: str, calls: Body) -> dict[str, Any]:
        message = {
            "role": "assistant",
            "content": text,
            **({"thinking": thought} if thought else {}),
            **calls,
        }
        return {"model": turn.model, "created_at": CREATED, "message": message, "done": False}


class OllamaGenerate(OllamaChat):
    """`/api/generate`: the same without messages."""

    def _line(self, turn: Turn, text: str, thought: str, calls: Body) -> dict[str, Any]:
        del calls
        thinking = {"thinking": thought} if thought else {}
        return {"model": turn.model, "created_at": CREATED, "response": text, **thinking, "done": False}


class OllamaEmbed(Dialect):
    """`/api/embed`."""

    truncates = True

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
        return self._vectors(turn, [list(vector) for vector in vectors])

    def hollow(self, turn: Turn) -> bytes:
        """No vectors."""
        return self._vectors(turn, [])

    def _vectors(self, turn: Turn, vectors: list[list[float]]) -> bytes:
        return encode(
            {
                "model": turn.model,
                "embeddings": vectors,
                "total_duration": DURATIONS["total_duration"],
                "load_duration": DURATIONS["load_duration"],
                "prompt_eval_count": turn.prompt_tokens,
            }
        )


def _calls(turn: Turn) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "function": {"index": index, "name": call.name, "arguments": call.value}}
        for index, call in enumerate(turn.reply.calls)
    ]


def _end(turn: Turn) -> dict[str, Any]:
    """Counts that are nothing are left out, and calls are no reason to stop."""
    told = turn.usage
    counts = {"prompt_eval_count": told.prompt_tokens, "eval_count": told.completion_tokens}
    reason = "length" if turn.stop == "length" else "stop"
    return {"done": True, "done_reason": reason, **DURATIONS, **{name: n for name, n in counts.items() if n}}


def _newline(line: dict[str, Any]) -> bytes:
    return encode(line) + b"\n"
