"""The shapes of Anthropic's dialect, as far as they are read, and their lenient twins.

As in OpenAI's dialect: the typed structs take what a sound backend sends, the `read_…` functions make what they can of
everything else. Blocks that are sent back as they came are read once more, as plain JSON.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from resilient_llm.models import Usage

from .openai_shapes import TokenCount  # noqa: TC001 - msgspec needs it when it runs
from .payload import Object, int_of, json_text, load_object, object_of, objects_of, text_of

STOP_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Why a model stopped, in OpenAI's words. Unknown words stay, and so does `pause_turn`, for which there is none."""

SAID: Final = frozenset({"text", "tool_use"})
"""The kinds of blocks that OpenAI's shape can say."""


class Details(msgspec.Struct, gc=False):
    """Parts of the output."""

    thinking_tokens: TokenCount | None = None


class Tokens(msgspec.Struct, gc=False):
    """Usage; what was read from the cache or written to it is not among `input_tokens`."""

    input_tokens: TokenCount | None = None
    cache_creation_input_tokens: TokenCount | None = None
    cache_read_input_tokens: TokenCount | None = None
    output_tokens: TokenCount | None = None
    output_tokens_details: Details | None = None

    def updated(self, later: Tokens) -> Tokens:
        """With the figures of a later event, which are totals; what it leaves out stays."""
        pairs = zip(msgspec.structs.astuple(later), msgspec.structs.astuple(self), strict=True)
        return Tokens(*(old if new is None else new for new, old in pairs))

    def told(self) -> Usage | None:
        """The usage, or None if there is nothing in it."""
        details = self.output_tokens_details
        usage = Usage(
            prompt_tokens=_sum(
                self.input_tokens, self.cache_creation_input_tokens, self.cache_read_input_tokens
            ),
            completion_tokens=self.output_tokens,
            cached_tokens=self.cache_read_input_tokens,
            reasoning_tokens=details.thinking_tokens if details else None,
        )
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None if usage == Usage() else usage
        total = usage.prompt_tokens + usage.completion_tokens
        return Usage(
            usage.prompt_tokens, usage.completion_tokens, total, usage.cached_tokens, usage.reasoning_tokens
        )


class Block(msgspec.Struct, gc=False):
    """A block of the answer: whole, or as it begins in a stream."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    citations: msgspec.Raw = msgspec.Raw()

    @property
    def is_said(self) -> bool:
        """Can OpenAI's shape say all of it?"""
        return self.type in SAID and bytes(self.citations) in NO_CITATIONS

    @property
    def arguments(self) -> str:
        """The input of a call, as JSON text; empty if there is none yet."""
        text = bytes(self.input).decode("utf-8", "replace")
        return "" if text == "null" else text


NO_CITATIONS: Final = (b"", b"null", b"[]")


class Answer(msgspec.Struct, gc=False):
    """A whole answer; in a stream its head."""

    content: list[Block] | None = None
    stop_reason: str | None = None
    usage: Tokens | None = None
    error: object = None
    type: str | None = None
    id: str | None = None
    model: str | None = None


class Delta(msgspec.Struct, gc=False):
    """The next piece of a block, or what changes of the message at its end."""

    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    citation: msgspec.Raw = msgspec.Raw()
    stop_reason: str | None = None


class StreamEvent(msgspec.Struct, gc=False):
    """One event of a stream."""

    type: str | None = None
    index: int = 0
    delta: Delta | None = None
    content_block: Block | None = None
    message: Answer | None = None
    usage: Tokens | None = None
    error: object = None


def stop_word(reason: str | None) -> str | None:
    """OpenAI's word for why a model stopped, or None if nothing was said."""
    return STOP_REASONS.get(reason, reason) if reason else None


def read_event(payload: bytes) -> StreamEvent:
    """Read an event that the typed decoder refused.

    Raises:
        ModelResponseInvalidError: It is no JSON object, or nested too deeply.
    """
    body = load_object(payload)
    delta = object_of(body.get("delta"))
    return StreamEvent(
        type=text_of(body.get("type")),
        index=int_of(body.get("index")) or 0,
        delta=Delta(
            text=text_of(delta.get("text")),
            thinking=text_of(delta.get("thinking")),
            partial_json=text_of(delta.get("partial_json")),
            signature=text_of(delta.get("signature")),
            citation=_raw(delta.get("citation")),
            stop_reason=text_of(delta.get("stop_reason")),
        ),
        content_block=_block(object_of(body.get("content_block"))),
        message=_answer(object_of(body.get("message"))),
        usage=_tokens(object_of(body.get("usage"))),
        error=body.get("error"),
    )


def read_answer(payload: bytes) -> Answer:
    """Read a whole answer that the typed decoder refused.

    Raises:
        ModelResponseInvalidError: It is no JSON object, or nested too deeply.
    """
    return _answer(load_object(payload))


def _answer(body: Object) -> Answer:
    content = body.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else objects_of(content)
    return Answer(
        content=[_block(block) for block in blocks] if "content" in body else None,
        stop_reason=text_of(body.get("stop_reason")),
        usage=_tokens(object_of(body.get("usage"))),
        error=body.get("error"),
        type=text_of(body.get("type")),
        id=text_of(body.get("id")),
        model=text_of(body.get("model")),
    )


def _block(body: Object) -> Block:
    return Block(
        type=text_of(body.get("type")),
        text=text_of(body.get("text")),
        thinking=text_of(body.get("thinking")),
        id=text_of(body.get("id")),
        name=text_of(body.get("name")),
        input=_raw(body.get("input")),
        citations=_raw(body.get("citations")),
    )


def _tokens(body: Object) -> Tokens:
    return Tokens(
        int_of(body.get("input_tokens")),
        int_of(body.get("cache_creation_input_tokens")),
        int_of(body.get("cache_read_input_tokens")),
        int_of(body.get("output_tokens")),
        Details(int_of(object_of(body.get("output_tokens_details")).get("thinking_tokens"))),
    )


def _raw(value: Any) -> msgspec.Raw:
    """A value as JSON again; a string holds JSON already, as arguments do where a backend got it wrong."""
    if value is None:
        return msgspec.Raw()
    text = value if isinstance(value, str) else json_text(value)
    return msgspec.Raw(text.encode("utf-8", "replace"))


def _sum(first: int | None, *others: int | None) -> int | None:
    return None if first is None else first + sum(filter(None, others))
