"""What a chat message costs, given a measure of text: tokens for a count, bytes for an upper bound.

The rule is the one that OpenAI's cookbook publishes: so much for each message, the tokens of every string
field, one more for a name. It says nothing of calls, results and other makers' templates, which follow
`Overheads`, and of images and files, which follow `Media`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import attrs

from .media import Media, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resilient_llm.models import Message

Measure: TypeAlias = Callable[[str], int]

# The text of a content part, by the name of its field: OpenAI's, Anthropic's.
_TEXT_FIELDS = ("text", "refusal", "thinking")


@attrs.frozen
class Overheads:
    """What a chat template adds to the text, in tokens.

    Args:
        message: For each message, beside its role and content.
        name: For a name, beside its text.
        primer: Once, for the beginning of the answer.
        call: For each tool call and each tool result block, beside its name and arguments.
        function: For each function offered, beside its text.
        tools: Once, if functions are offered.
        schema_as_json: Does the model see a function's parameters as JSON text, not as OpenAI's shorter form?
    """

    message: int = 3
    name: int = 1
    primer: int = 3
    call: int = 3
    function: int = 7
    tools: int = 12
    schema_as_json: bool = False


OPENAI = Overheads()
"""Published for gpt-4o; nothing newer is published."""

OPENAI_CL100K = Overheads(function=10)
"""Published for gpt-4 and gpt-3.5-turbo."""

UNKNOWN = Overheads(message=5, call=12, function=10, tools=350, schema_as_json=True)
"""The larger of what ChatML, Llama 3 and Claude add; Claude's hidden instructions for tools take 346."""


class MalformedMessageError(TypeError, ValueError):
    """A message that no backend would take: it says which, and what is wrong with it.

    Both a `TypeError` and a `ValueError`: whoever calls need not tell a wrong type from a wrong value.
    """

    def __init__(self, problem: str, subject: str = "message") -> None:
        super().__init__(problem, subject)
        self.problem = problem
        self.subject = subject

    def __str__(self) -> str:
        """The place and the problem; never the message's text."""
        return f"{self.subject}{self.problem}"

    def inside(self, place: str) -> MalformedMessageError:
        """The same, seen from what holds it."""
        return MalformedMessageError(place + self.problem, self.subject)

    def at(self, index: int) -> MalformedMessageError:
        """The same, naming the message's place in its conversation."""
        return MalformedMessageError(self.problem, f"messages[{index}]")


@attrs.frozen
class MessageCosts:
    """The cost of a message, of its parts and of its calls, in the unit of `measure`.

    Args:
        measure: The size of a text.
        overheads: What the chat template adds.
        media: What parts cost that are no text.
    """

    measure: Measure
    overheads: Overheads = OPENAI
    media: Media = attrs.field(factory=Media)

    def message(self, message: Message) -> int:
        """One message, without the primer: costs add up.

        Every string field counts, as the published rule has it; other fields that are not known do not.

        Raises:
            MalformedMessageError: It is no mapping, has no role, or a field has a type that cannot be sent.
        """
        if type(message) is not dict and not isinstance(message, Mapping):
            _reject("a mapping with a role", message)
        if not isinstance(message.get("role"), str):
            _reject("a string", message.get("role"), '["role"]')
        measure, total = self.measure, self.overheads.message
        for key, value in message.items():
            if isinstance(value, str):
                total += measure(value)
                if key == "name":
                    total += self.overheads.name
            elif value is not None and (count := _FIELDS.get(key)):
                try:
                    total += count(self, value)
                except MalformedMessageError as error:
                    place = f'["{key}"]'
                    raise error.inside(place) from None
        return total

    def content(self, content: object) -> int:
        """A string, or a list of parts."""
        if isinstance(content, str):
            return self.measure(content)
        if content is None:
            return 0
        if not isinstance(content, list | tuple):
            _reject("a string, a list of parts or None", content)
        return _each(content, self._part)

    def call(self, call: object) -> int:
        """A call: its name and its arguments, as text or as the object that some backends take."""
        if type(call) is not dict and not isinstance(call, Mapping):
            _reject("a mapping", call)
        inner = call.get("function", call.get("custom", call))
        if type(inner) is not dict and not isinstance(inner, Mapping):
            _reject("a mapping", inner, '["function"]')
        arguments = inner.get("arguments", inner.get("input"))
        return self.overheads.call + self.json(inner.get("name")) + self.json(arguments)

    def calls(self, calls: object) -> int:
        """The calls of an assistant's message."""
        if not isinstance(calls, list | tuple):
            _reject("a list", calls)
        return _each(calls, self.call)

    def images(self, images: object) -> int:
        """Ollama's list of images beside the content."""
        if not isinstance(images, list | tuple):
            _reject("a list", images)
        return sum(map(self.media.bare_image, images))

    def json(self, value: object) -> int:
        """A text as it is, anything else as JSON text, None as nothing."""
        if value is None:
            return 0
        return self.measure(value if isinstance(value, str) else json_text(value))

    def _part(self, part: object) -> int:
        if isinstance(part, str):
            return self.measure(part)
        if not isinstance(part, Mapping):
            _reject("a mapping or a string", part)
        for field in _TEXT_FIELDS:
            if isinstance(text := part.get(field), str):
                return self.measure(text)
        kind = str(part.get("type", ""))
        if kind.endswith("tool_use"):
            return self.call(part)
        if kind.endswith("tool_result"):
            return self.overheads.call + self._result(part.get("content"))
        inner = plain_text(part)
        if inner is None:
            return self.media.part(part)
        return self.content(inner) + self.json(part.get("title")) + self.json(part.get("context"))

    def _result(self, content: object) -> int:
        """What a tool gave: content like a message's, or the one object of a tool that runs at the maker's."""
        if isinstance(content, Mapping):
            return self.json(content)
        try:
            return self.content(content)
        except MalformedMessageError as error:
            place = '["content"]'
            raise error.inside(place) from None


_FIELDS: Mapping[str, Callable[[MessageCosts, object], int]] = {
    "content": MessageCosts.content,
    "tool_calls": MessageCosts.calls,
    "function_call": MessageCosts.call,
    "images": MessageCosts.images,
}


def _each(values: Iterable[object], cost: Callable[[object], int]) -> int:
    """What they cost together; an error names the place."""
    total = 0
    for index, value in enumerate(values):
        try:
            total += cost(value)
        except MalformedMessageError as error:
            place = f"[{index}]"
            raise error.inside(place) from None
    return total


def json_text(value: object) -> str:
    """JSON as chat templates write it; what JSON cannot say becomes its text."""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _reject(accepted: str, value: object, place: str = "") -> NoReturn:
    msg = f"{place} must be {accepted}, not {type(value).__name__}"
    raise MalformedMessageError(msg)
