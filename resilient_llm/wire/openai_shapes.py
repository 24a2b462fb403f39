"""The shapes of OpenAI's chat dialect, as far as they are read, and their lenient twins.

The typed structs decode what a sound backend sends in a fraction of the time of `json.loads`, skipping what is
not declared. What does not fit them (a number for a string, content in parts, arguments as an object) is read
again as plain JSON by the `read_…` functions, which take what they understand.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from resilient_llm.models import Usage

from .payload import Object, int_of, json_text, load_object, object_of, objects_of, text_of

_NOTHING_TOLD: Final = (None,) * 5

TokenCount: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

FINISH_REASONS: Final = {
    "end": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "tool_use": "tool_calls",
}
"""Words of other backends, and the word of OpenAI that means the same. Unknown words stay."""


class Function(msgspec.Struct, gc=False):
    """The function of a call, or a fragment of it."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct, gc=False):
    """A tool call, or a fragment of it."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct, gc=False):
    """What the assistant says: a piece in a chunk, all of it in a message."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None


class Choice(msgspec.Struct, gc=False):
    """One choice. UNSET tells a backend that leaves `finish_reason` out from one that says null."""

    delta: Delta | None = None
    finish_reason: str | UnsetType | None = UNSET
    index: int | None = None


class Groq(msgspec.Struct, gc=False):
    """Groq's own corner of a chunk."""

    usage: dict[str, object] | None = None


class Chunk(msgspec.Struct, gc=False):
    """One event of a stream. UNSET tells a chunk without `choices` from one whose choices are null."""

    choices: list[Choice] | UnsetType | None = UNSET
    usage: dict[str, object] | None = None
    error: object = None
    id: str | None = None
    model: str | None = None
    x_groq: Groq | None = None


class Details(msgspec.Struct, gc=False):
    """Parts of a count of tokens."""

    cached_tokens: TokenCount | None = None
    reasoning_tokens: TokenCount | None = None


class Tokens(msgspec.Struct, gc=False):
    """Usage; DeepSeek tells the cached tokens in a field of its own."""

    prompt_tokens: TokenCount | None = None
    completion_tokens: TokenCount | None = None
    total_tokens: TokenCount | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    prompt_cache_hit_tokens: TokenCount | None = None

    def told(self) -> Usage | None:
        """The usage, or None if there is nothing in it."""
        prompt, completion = self.prompt_tokens_details, self.completion_tokens_details
        cached = prompt.cached_tokens if prompt else None
        counts = (
            self.prompt_tokens,
            self.completion_tokens,
            self.total_tokens,
            self.prompt_cache_hit_tokens if cached is None else cached,
            completion.reasoning_tokens if completion else None,
        )
        return None if counts == _NOTHING_TOLD else Usage(*counts)


class WholeChoice(msgspec.Struct, gc=False):
    """One choice of a whole answer."""

    message: Delta | None = None
    finish_reason: str | None = None
    error: object = None


class Answer(msgspec.Struct, gc=False):
    """A whole answer."""

    choices: list[WholeChoice] | None = None
    usage: Tokens | None = None
    error: object = None
    kind: str | None = msgspec.field(default=None, name="object")
    type: str | None = None
    id: str | None = None
    model: str | None = None


def finish_word(reason: object) -> str | None:
    """OpenAI's word for why a model stopped, or None if nothing was said."""
    word = text_of(reason)
    return FINISH_REASONS.get(word, word) if word else None


def read_chunk(payload: bytes) -> Chunk:
    """Read a chunk that the typed decoder refused.

    Raises:
        ModelResponseInvalidError: It is no JSON object.
    """
    body = load_object(payload)
    choices = [
        Choice(
            read_delta(choice.get("delta")), finish_word(choice["finish_reason"]), int_of(choice.get("index"))
        )
        if "finish_reason" in choice
        else Choice(read_delta(choice.get("delta")), index=int_of(choice.get("index")))
        for choice in objects_of(body.get("choices"))
    ]
    return Chunk(
        choices=choices if "choices" in body else UNSET,
        usage=dict(object_of(body.get("usage"))) or None,
        error=body.get("error"),
        id=text_of(body.get("id")),
        model=text_of(body.get("model")),
        x_groq=Groq(dict(object_of(object_of(body.get("x_groq")).get("usage"))) or None),
    )


def read_answer(payload: bytes) -> Answer:
    """Read a whole answer that the typed decoder refused.

    Raises:
        ModelResponseInvalidError: It is no JSON object.
    """
    body = load_object(payload)
    choices = [
        WholeChoice(
            read_delta(choice.get("message")), text_of(choice.get("finish_reason")), choice.get("error")
        )
        for choice in objects_of(body.get("choices"))
    ]
    return Answer(
        choices=choices,
        usage=read_tokens(object_of(body.get("usage"))),
        error=body.get("error"),
        kind=text_of(body.get("object")),
        type=text_of(body.get("type")),
        id=text_of(body.get("id")),
        model=text_of(body.get("model")),
    )


def read_tokens(body: Object) -> Tokens:
    """Read usage."""
    prompt, completion = (
        object_of(body.get("prompt_tokens_details")),
        object_of(body.get("completion_tokens_details")),
    )
    return Tokens(
        int_of(body.get("prompt_tokens")),
        int_of(body.get("completion_tokens")),
        int_of(body.get("total_tokens")),
        Details(cached_tokens=int_of(prompt.get("cached_tokens"))),
        Details(reasoning_tokens=int_of(completion.get("reasoning_tokens"))),
        int_of(body.get("prompt_cache_hit_tokens")),
    )


def read_delta(value: object) -> Delta:
    """Read a delta or a message."""
    body = object_of(value)
    content = body.get("content")
    reasoning = text_of(body.get("reasoning_content")) or text_of(body.get("reasoning"))
    if isinstance(content, list):
        parts = objects_of(content)
        reasoning = reasoning or "".join(_join(part.get("thinking")) for part in parts)
        content = "".join(text_of(part.get("text")) or "" for part in parts)
    calls = [read_call(call) for call in objects_of(body.get("tool_calls"))]
    legacy = body.get("function_call")
    return Delta(
        content=text_of(content),
        reasoning=reasoning,
        refusal=text_of(body.get("refusal")),
        tool_calls=calls,
        function_call=read_function(object_of(legacy)) if legacy else None,
    )


def read_call(body: Object) -> Call:
    """Read a tool call."""
    return Call(
        int_of(body.get("index")), text_of(body.get("id")), read_function(object_of(body.get("function")))
    )


def read_function(body: Object) -> Function:
    """Read a function's name and arguments; arguments that came as an object are written as JSON text."""
    arguments = body.get("arguments")
    if isinstance(arguments, dict | list):
        arguments = json_text(arguments)
    return Function(text_of(body.get("name")), text_of(arguments))


def _join(parts: object) -> str:
    """The text of Mistral's thinking: a list of text parts, or a string."""
    if isinstance(parts, list):
        return "".join(text_of(part.get("text")) or "" for part in objects_of(parts))
    return text_of(parts) or ""
