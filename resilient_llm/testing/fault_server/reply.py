"""What the model says, in no dialect yet."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from resilient_llm.models import Usage

from .asked import newest, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

QUOTED = 40
FRAGMENT = 8
"""Characters of a call's arguments that a stream brings at once."""
DIMENSIONS = 8
_WORDS = re.compile(r"\s*\S+|\s+$")


@attrs.frozen
class Call:
    """A tool call that the model makes.

    Args:
        name: The function's name.
        arguments: What it is called with; a text is sent as it is, be it JSON or not.
        id: The call's id; empty for `call_1`, `call_2`, ...
    """

    name: str
    arguments: Mapping[str, object] | str = attrs.field(factory=dict)
    id: str = ""

    @property
    def text(self) -> str:
        """The arguments as JSON text."""
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(self.arguments, ensure_ascii=False)

    @property
    def value(self) -> object:
        """The arguments as an object, as far as they are JSON."""
        try:
            return json.loads(self.text or "{}")
        except ValueError:
            return self.arguments

    @property
    def fragments(self) -> list[str]:
        """The arguments as a stream brings them: cut anywhere."""
        text = self.text
        return [text[at : at + FRAGMENT] for at in range(0, len(text), FRAGMENT)]


def _calls(calls: Iterable[Call]) -> tuple[Call, ...]:
    return tuple(
        call if call.id else attrs.evolve(call, id=f"call_{number}") for number, call in enumerate(calls, 1)
    )


@attrs.frozen
class Reply:
    """What the model says to a request.

    Args:
        text: The answer's text.
        reasoning: What it thinks before.
        calls: The tools that it calls.
        finish_reason: Why it stops, in OpenAI's words; each dialect has its own. Empty: `tool_calls` if there are
            any, else `stop`.
        usage: The tokens that it tells; None: counted.
        vectors: The embeddings; None: made from the texts, so that equal texts have equal vectors.
    """

    text: str = ""
    reasoning: str = attrs.field(default="", kw_only=True)
    calls: tuple[Call, ...] = attrs.field(default=(), converter=_calls, kw_only=True)
    finish_reason: str = attrs.field(default="", kw_only=True)
    usage: Usage | None = attrs.field(default=None, kw_only=True)
    vectors: Sequence[Sequence[float]] | None = attrs.field(default=None, kw_only=True)


Source: TypeAlias = str | Reply | Callable[[Mapping[str, Any]], "str | Reply"]
"""A reply, or its text, or a function of the request's body that gives either."""


def echo(body: Mapping[str, Any]) -> str:
    """An answer that tells which request it belongs to: a sentence that ends in the newest message's beginning."""
    return f"A sound backend writes this whole sentence as its answer to: {newest(body)[:QUOTED]}"


@attrs.frozen
class Turn:
    """What a dialect writes down: a request and the reply to it.

    Args:
        number: The request's.
        model: The model that answers.
        body: What was asked.
        reply: What is answered.
        prompt_tokens: The request's size, as far as the model saw it.
    """

    number: int
    model: str
    body: Mapping[str, Any]
    reply: Reply
    prompt_tokens: int

    @property
    def stop(self) -> str:
        """Why the model stops."""
        return self.reply.finish_reason or ("tool_calls" if self.reply.calls else "stop")

    @property
    def usage(self) -> Usage:
        """The tokens, as told or as counted."""
        reply = self.reply
        if reply.usage is not None:
            return reply.usage
        thought = tokens(reply.reasoning)
        said = tokens(reply.text) + thought + sum(tokens(call.name + call.text) for call in reply.calls)
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=said,
            total_tokens=self.prompt_tokens + said,
            reasoning_tokens=thought or None,
        )

    def vectors(self, texts: Sequence[str], dimensions: int | None = None) -> Sequence[Sequence[float]]:
        """The embeddings of texts."""
        if self.reply.vectors is not None:
            return self.reply.vectors
        return [_vector(text, dimensions or DIMENSIONS) for text in texts]


def reply_to(body: Mapping[str, Any], source: Source) -> Reply:
    """The reply to a request."""
    said = source(body) if callable(source) else source
    return Reply(said) if isinstance(said, str) else said


def words(text: str) -> Iterator[str]:
    """A text as a stream brings it, a word each."""
    return iter(_WORDS.findall(text))


def _vector(text: str, dimensions: int) -> list[float]:
    seed = hashlib.shake_128(text.encode("utf-8", "replace")).digest(dimensions)
    return [byte / 128 - 1 for byte in seed]
