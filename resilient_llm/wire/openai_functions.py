"""Functions of the old kind (`functions`, `function_call`, the role `function`) said as tools, and back.

Most servers that speak OpenAI's dialect know tools only; vLLM, llama.cpp and LM Studio leave functions out silently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from resilient_llm.events import Finish, ToolCall

from .payload import object_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.models import Message, Request

    from .openai_response import ChatAnswer


def is_legacy(request: Request) -> bool:
    """Does the caller know functions but no tools? Then a call must come back as a `function_call`."""
    return bool(request.params.get("functions")) and not request.params.get("tools")


def as_tools(request: Request) -> Request:
    """The same request without functions; often the same object."""
    if is_legacy(request):
        request = attrs.evolve(request, params=_params(request.params))
    for message in request.messages:
        if "function_call" in message or message.get("role") == "function":
            return attrs.evolve(request, messages=_messages(request.messages))
    return request


def as_function(answer: ChatAnswer) -> ChatAnswer:
    """The answer for a caller who knows functions only: calls have no ids then."""
    return attrs.evolve(answer, events=[_event(event) for event in answer.events])


def reason_of(reason: str | None) -> str | None:
    """Why the model stopped, for such a caller."""
    return "function_call" if reason == "tool_calls" else reason


def _event(event: Any) -> Any:
    if isinstance(event, ToolCall):
        return attrs.evolve(event, id="")
    return Finish(reason_of(event.reason) or "stop") if isinstance(event, Finish) else event


def _params(params: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(params)
    functions, choice = given.pop("functions"), given.pop("function_call", None)
    given["tools"] = [{"type": "function", "function": function} for function in functions]
    if isinstance(choice, str):
        given["tool_choice"] = choice
    elif choice:
        given["tool_choice"] = {"type": "function", "function": choice}
    return given


def _is_old(message: Message) -> bool:
    return message.get("role") == "function" or bool(message.get("function_call"))


def _messages(messages: Sequence[Message]) -> list[Message]:
    """Calls get ids, by which their results name them."""
    said: list[Message] = []
    called: dict[object, str] = {}
    for place, message in enumerate(messages):
        if not _is_old(message):
            said.append(message)
            continue
        rest = {key: value for key, value in message.items() if key not in {"function_call", "name"}}
        if message.get("role") == "function":
            name = message.get("name")
            said.append({**rest, "role": "tool", "tool_call_id": called.get(name, f"call_{name}")})
            continue
        function = object_of(message["function_call"])
        called[function.get("name")] = identity = f"call_{place}"
        call = {"id": identity, "type": "function", "function": function}
        said.append({**rest, "tool_calls": message.get("tool_calls") or [call]})
    return said
