"""What a server was asked, read out of each dialect's own shape into one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

Body: TypeAlias = Mapping[str, Any]
Said: TypeAlias = tuple[Any, ...]
"""`("system", text)`, `("user", text)`, `("assistant", text)`, `("image", base64)`, `("call", name, arguments)`,
`("result", text)`."""


def openai(body: Body) -> list[Said]:
    """Chat completions."""
    return [said for message in body["messages"] for said in _openai_message(message)]


def _openai_message(message: Body) -> Iterator[Said]:
    role, content = message["role"], message.get("content")
    role = {"developer": "system", "tool": "result", "function": "result"}.get(role, role)
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        if part["type"] == "image_url":
            yield "image", part["image_url"]["url"].partition("base64,")[2]
        elif part["text"]:
            yield role, part["text"]
    calls = [call["function"] for call in message.get("tool_calls", ())]
    for call in [*calls, *filter(None, [message.get("function_call")])]:
        yield "call", call["name"], json.loads(call["arguments"])


def anthropic(body: Body) -> list[Said]:
    """Messages, with the system prompt beside them."""
    system = body.get("system", "")
    texts = system.split("\n\n") if isinstance(system, str) else [block["text"] for block in system]
    spoken = [said for message in body["messages"] for said in _anthropic_message(message)]
    return [("system", text) for text in texts if text] + spoken


def _anthropic_message(message: Body) -> Iterator[Said]:
    content = message["content"]
    for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        match block["type"]:
            case "text":
                yield message["role"], block["text"]
            case "image":
                yield "image", block["source"]["data"]
            case "tool_use":
                yield "call", block["name"], block["input"]
            case "tool_result":
                inner = block["content"]
                yield "result", inner if isinstance(inner, str) else "".join(part["text"] for part in inner)


def ollama(body: Body) -> list[Said]:
    """Ollama's chat: images beside the text, arguments as objects."""
    return [said for message in body["messages"] for said in _ollama_message(message)]


def _ollama_message(message: Body) -> Iterator[Said]:
    if message["content"]:
        yield {"tool": "result"}.get(message["role"], message["role"]), message["content"]
    for image in message.get("images", ()):
        yield "image", image
    for call in message.get("tool_calls", ()):
        yield "call", call["function"]["name"], call["function"]["arguments"]


HEARD: Mapping[str, Callable[[Body], list[Said]]] = {
    "openai": openai,
    "anthropic": anthropic,
    "ollama": ollama,
}


def schema(dialect: str, body: Body) -> object:
    """The schema that the answer must fit."""
    match dialect:
        case "anthropic":
            return body["output_config"]["format"]["schema"]
        case "ollama":
            return body["format"]
    return body["response_format"]["json_schema"]["schema"]


def offered(dialect: str, body: Body) -> list[tuple[str, object]]:
    """The tools: their names, and the schemas of their arguments."""
    if dialect == "anthropic":
        return [(tool["name"], tool["input_schema"]) for tool in body["tools"]]
    functions = body.get("functions") or [tool["function"] for tool in body["tools"]]
    return [(function["name"], function["parameters"]) for function in functions]


def limit(dialect: str, body: Body) -> object:
    """The longest answer, in tokens."""
    return body["options"]["num_predict"] if dialect == "ollama" else body["max_tokens"]


def stops(dialect: str, body: Body) -> object:
    """What ends the answer."""
    if dialect == "ollama":
        return body["options"]["stop"]
    return body["stop_sequences" if dialect == "anthropic" else "stop"]
