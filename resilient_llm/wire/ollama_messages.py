"""Messages in OpenAI's shape, written in Ollama's.

Ollama's content is a plain string with the images beside it, the arguments of its tool calls are objects, and a
tool's result names the function. A message that reads the same in both shapes is passed on as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote_to_bytes

import msgspec

from resilient_llm.errors import ModelInvalidRequestError

from .messages import ANTHROPIC_CONTENT

if TYPE_CHECKING:
    from resilient_llm.models import Message

ROLES: Final = {"developer": "system", "function": "tool"}
SAME: Final = frozenset({"system", "user", "assistant"})
TRANSLATED: Final = frozenset(
    {"tool_calls", "function_call", "reasoning_content", "reasoning", ANTHROPIC_CONTENT}
)
"""What is not passed on under its own name, or not at all."""

_decode = msgspec.json.Decoder().decode


def write_messages(messages: Sequence[Message]) -> list[Message]:
    """The conversation in Ollama's shape.

    Raises:
        ModelInvalidRequestError: A message that Ollama cannot take, such as an image at an address; its index is
            named.
    """
    called: dict[str, str] = {}
    return [_message(message, f"messages[{place}]", called) for place, message in enumerate(messages)]


def _message(message: Message, where: str, called: dict[str, str]) -> Message:
    """One message. `called` knows the function of each tool call so far, by the call's id."""
    role, content = message.get("role"), message.get("content")
    if role in SAME and isinstance(content, str) and (role != "assistant" or TRANSLATED.isdisjoint(message)):
        return message
    written: dict[str, Any] = {key: value for key, value in message.items() if key not in TRANSLATED}
    written["role"] = ROLES.get(str(role), role)
    written["content"], images = _content(content, where)
    if images:
        written["images"] = [*written.get("images", ()), *images]
    if role in {"tool", "function"}:
        name = message.get("name") or called.get(str(message.get("tool_call_id")))
        if name:
            written.setdefault("tool_name", name)
    if thoughts := message.get("reasoning_content") or message.get("reasoning"):
        written.setdefault("thinking", thoughts)
    if calls := _calls(message):
        written["tool_calls"] = [_call(call, index, where, called) for index, call in enumerate(calls)]
    return written


# Content ...


def _content(content: object, where: str) -> tuple[str, list[str]]:
    """The text, and the images in base64."""
    if content is None:
        return "", []
    if isinstance(content, str):
        return content, []
    if not isinstance(content, Sequence) or isinstance(content, bytes | bytearray):
        msg = f"{where} must have a text or a list of parts as its content, not {type(content).__name__}"
        raise ModelInvalidRequestError(msg)
    texts: list[str] = []
    images: list[str] = []
    for part in cast("Sequence[object]", content):
        if isinstance(part, str):
            texts.append(part)
            continue
        body = _object(part, f"a part of {where}")
        kind = body.get("type")
        if kind == "image_url":
            images.append(_image(body.get("image_url"), where))
        elif kind in {"text", "refusal"}:
            texts.append(str(body.get(cast("str", kind), "")))
        else:
            msg = f"{where} has a part of type {kind!r}; Ollama takes 'text' and 'image_url'"
            raise ModelInvalidRequestError(msg)
    return "\n".join(texts), images


def _image(value: object, where: str) -> str:
    url = value if isinstance(value, str) else _object(value, f"the image of {where}").get("url")
    if not isinstance(url, str) or not url.startswith("data:"):
        msg = f"{where} has an image that is no data: URL; Ollama fetches none, send 'data:image/png;base64,...'"
        raise ModelInvalidRequestError(msg)
    kind, _, data = url.partition(",")
    if kind.endswith(";base64"):
        return data
    return base64.b64encode(unquote_to_bytes(data)).decode("ascii")


# Calls ...


def _calls(message: Message) -> Sequence[object]:
    """The tool calls, or the legacy function call as one."""
    if calls := message.get("tool_calls"):
        return cast("Sequence[object]", calls)
    legacy = message.get("function_call")
    return [{"function": legacy}] if legacy else []


def _call(value: object, index: int, where: str, called: dict[str, str]) -> dict[str, Any]:
    call = _object(value, f"a tool call of {where}")
    function = _object(call.get("function"), f"the function of a tool call of {where}")
    name = str(function.get("name", ""))
    if identity := call.get("id"):
        called[str(identity)] = name
    written: dict[str, Any] = {"id": identity} if identity else {}
    arguments = _arguments(function.get("arguments"), where)
    return {**written, "function": {"index": index, "name": name, "arguments": arguments}}


def _arguments(value: object, where: str) -> object:
    """The arguments as an object; their JSON text is passed on as the model wrote it."""
    if not value:
        return {}
    if isinstance(value, Mapping):
        return cast("object", value)
    try:
        if isinstance(value, str) and isinstance(_decode(value), dict):
            return msgspec.Raw(value.encode())
    except (ValueError, RecursionError):
        pass
    msg = f"{where} has a tool call whose arguments are no JSON object; Ollama takes nothing else"
    raise ModelInvalidRequestError(msg)


def _object(value: object, what: str) -> Mapping[str, Any]:
    """A mapping, or a pydantic model of an SDK as one."""
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value)
    if hasattr(value, "model_dump"):
        return cast("Mapping[str, Any]", cast("Any", value).model_dump(mode="json", exclude_none=True))
    msg = f"{what} must be a mapping, not {type(value).__name__}"
    raise ModelInvalidRequestError(msg)
