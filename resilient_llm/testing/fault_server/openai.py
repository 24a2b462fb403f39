"""OpenAI's chat dialect, as a backend speaks it: answers, streams, errors, and a rough count of tokens."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MESSAGE_OVERHEAD = 4
BYTES_PER_TOKEN = 4
QUOTED = 40
_WORDS = re.compile(r"\s*\S+|\s+$")


def echo(body: Mapping[str, Any]) -> str:
    """An answer that tells which request it belongs to: a sentence that ends in the newest message's beginning."""
    return f"A sound backend writes this whole sentence as its answer to: {_newest(body)[:QUOTED]}"


def _newest(body: Mapping[str, Any]) -> str:
    messages = body.get("messages") or [{}]
    return _text(messages[-1].get("content"))


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


@attrs.frozen(kw_only=True)
class OpenAIDialect:
    """How bodies are read and written.

    Args:
        model: The model that is offered and that answers.
        reply: The answer's text, or a function of the request's body that gives it.
    """

    model: str = "fault-model"
    reply: str | Callable[[Mapping[str, Any]], str] = echo

    def text(self, body: Mapping[str, Any]) -> str:
        """The answer to a request."""
        return self.reply(body) if callable(self.reply) else self.reply

    def count(self, body: Mapping[str, Any]) -> int:
        """A request's size: a token for each four bytes of text begun, and four for each message."""
        messages = body.get("messages") or ()
        return sum(MESSAGE_OVERHEAD + _tokens(_text(message.get("content"))) for message in messages)

    def asked_for(self, body: Mapping[str, Any]) -> int:
        """The tokens asked for as answer, which the window must hold too."""
        asked = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        return asked if isinstance(asked, int) else 0

    # Answers ...

    def whole(self, body: Mapping[str, Any], number: int) -> bytes:
        """An answer that comes whole."""
        text = self.text(body)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        head = self._head(number, "chat.completion")
        return _encode({**head, "choices": [choice], "usage": self._usage(body, text)})

    def opening(self, number: int) -> bytes:
        """The event that opens a stream: a role and no content."""
        return self._chunk(number, {"role": "assistant", "content": ""})

    def pieces(self, body: Mapping[str, Any], number: int) -> Iterator[bytes]:
        """The events that bring the text, a word each."""
        for piece in _WORDS.findall(self.text(body)):
            yield self._chunk(number, {"content": piece})

    def closing(self, body: Mapping[str, Any], number: int) -> bytes:
        """The events that end a stream: the finish reason, the usage if asked for, the end marker."""
        events = self._chunk(number, {}, "stop")
        if (body.get("stream_options") or {}).get("include_usage"):
            head = self._head(number, "chat.completion.chunk")
            events += _event({**head, "choices": [], "usage": self._usage(body, self.text(body))})
        return events + b"data: [DONE]\n\n"

    def models(self, window: int | None) -> bytes:
        """The list of models."""
        entry: dict[str, object] = {"id": self.model, "object": "model", "owned_by": "resilient_llm"}
        if window is not None:
            entry["context_length"] = window
        return _encode({"object": "list", "data": [entry]})

    # Errors ...

    def error(self, message: str, *, kind: str, code: str | None = None) -> bytes:
        """The body of an error."""
        return _encode({"error": {"message": message, "type": kind, "param": None, "code": code}})

    def overflow(self, tokens: int, asked: int, window: int) -> bytes:
        """The body of a refusal for size."""
        size = f"you requested {tokens + asked} tokens ({tokens} in the messages, {asked} in the completion)"
        if not asked:
            size = f"your messages resulted in {tokens} tokens"
        message = f"This model's maximum context length is {window} tokens. However, {size}. Please reduce the length"
        return self.error(
            f"{message} of the messages.", kind="invalid_request_error", code="context_length_exceeded"
        )

    def _head(self, number: int, kind: str) -> dict[str, object]:
        return {"id": f"chatcmpl-{number}", "object": kind, "created": 1_800_000_000, "model": self.model}

    def _chunk(self, number: int, delta: Mapping[str, object], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _event({**self._head(number, "chat.completion.chunk"), "choices": [choice]})

    def _usage(self, body: Mapping[str, Any], text: str) -> dict[str, int]:
        prompt, completion = self.count(body), _tokens(text)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }


def _tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def _encode(value: object) -> bytes:
    return json.dumps(value).encode()


def _event(value: object) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"
