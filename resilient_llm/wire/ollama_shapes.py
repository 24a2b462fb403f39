"""What Ollama answers, as far as it is read, and its lenient twin.

As in `openai_shapes`: the typed struct decodes what a sound server sends; what does not fit is read again as plain
JSON by `read_answer`, which takes what it understands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from resilient_llm.events import Event, ReasoningDelta, TextDelta, ToolCall
from resilient_llm.models import Usage

from .openai_shapes import finish_word
from .payload import int_of, json_text, load_object, loads, object_of, objects_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_ARGUMENTS = msgspec.Raw(b"")


class Function(msgspec.Struct, gc=False):
    """The function of a call; `arguments` are the bytes of an object."""

    name: str = ""
    arguments: msgspec.Raw = NO_ARGUMENTS


class Call(msgspec.Struct, gc=False):
    """A whole tool call; versions before 0.12 give it no id."""

    function: Function
    id: str = ""


class Message(msgspec.Struct, gc=False):
    """What the assistant says: a piece in a line of a stream, all of it in a whole answer."""

    content: str = ""
    thinking: str = ""
    tool_calls: list[Call] | None = None


class Answer(msgspec.Struct, gc=False):
    """A line of a stream, or a whole answer. Ollama leaves out counts that are zero."""

    message: Message | None = None
    done: bool = False
    done_reason: str | None = None
    model: str = ""
    created_at: str = ""
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: object = None

    def usage(self) -> Usage | None:
        """The tokens, or None if nothing is told."""
        prompt, completion = self.prompt_eval_count, self.eval_count
        if prompt is None and completion is None:
            return None
        total = prompt + completion if prompt is not None and completion is not None else None
        return Usage(prompt, completion, total)


class Calls:
    """Numbers the tool calls of one answer, and gives an id to those that have none.

    The ids of different answers differ, because a conversation holds many: they are made of the answer's time.

    Args:
        legacy: The caller asked with `functions`: a call is then one without an id.
    """

    def __init__(self, *, legacy: bool) -> None:
        self._legacy = legacy
        self._number = 0

    def place(self, calls: Iterable[Call], created_at: str) -> list[Event]:
        """The calls as events."""
        return [self._event(call, created_at) for call in calls]

    def _event(self, call: Call, created_at: str) -> Event:
        number = self._number
        self._number += 1
        identity = call.id
        if self._legacy:
            identity = ""
        elif not identity:
            time = "".join(filter(str.isalnum, created_at))
            identity = f"call_{time}_{number}" if time else f"call_{number}"
        return ToolCall(number, identity, call.function.name, _text(call.function.arguments))

    def reason(self, done_reason: str | None) -> str:
        """Why the model stopped; Ollama says `stop` after tool calls, too."""
        reason = finish_word(done_reason) or "stop"
        if reason == "stop" and self._number:
            return "function_call" if self._legacy else "tool_calls"
        return reason


def said(message: Message, calls: Calls, created_at: str, events: list[Event]) -> None:
    """What a message says."""
    if message.thinking:
        events.append(ReasoningDelta(message.thinking))
    if message.content:
        events.append(TextDelta(message.content))
    if message.tool_calls:
        events += calls.place(message.tool_calls, created_at)


def read_answer(payload: bytes) -> Answer:
    """Read what the typed decoder refused.

    Raises:
        ModelResponseInvalidError: It is no JSON object.
    """
    body = load_object(payload)
    message = body.get("message")
    return Answer(
        message=_message(object_of(message)) if message else None,
        done=bool(body.get("done")),
        done_reason=text_of(body.get("done_reason")),
        model=text_of(body.get("model")) or "",
        created_at=text_of(body.get("created_at")) or "",
        prompt_eval_count=int_of(body.get("prompt_eval_count")),
        eval_count=int_of(body.get("eval_count")),
        error=body.get("error"),
    )


def _message(body: object) -> Message:
    fields = object_of(body)
    functions = [
        (object_of(call.get("function")), text_of(call.get("id")) or "")
        for call in objects_of(fields.get("tool_calls"))
    ]
    return Message(
        text_of(fields.get("content")) or "",
        text_of(fields.get("thinking")) or "",
        [Call(_function(function), identity) for function, identity in functions],
    )


def _function(body: object) -> Function:
    fields = object_of(body)
    arguments = fields.get("arguments")
    raw = NO_ARGUMENTS if arguments is None else msgspec.Raw(json_text(arguments).encode())
    return Function(text_of(fields.get("name")) or "", raw)


def _text(arguments: msgspec.Raw) -> str:
    """The arguments as JSON text, as the server wrote it; some servers send the text itself, in a string."""
    text = bytes(arguments).decode("utf-8", "replace")
    if text.startswith('"'):
        return text_of(loads(text.encode())) or ""
    return "" if text == "null" else text
