"""Conversations and options in OpenAI's shape that the tests of Anthropic's dialect share."""

from __future__ import annotations

import json
from typing import Any

from resilient_llm.models import Request
from resilient_llm.wire.anthropic import encode_chat

HI = [{"role": "user", "content": "Hi"}]
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {"type": "function", "function": WEATHER}
OWN_TOOL = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}

KEPT = [
    {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
    {"type": "text", "text": "Looking."},
    {"type": "redacted_thinking", "data": "eHh4"},
    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}},
]


def call(identity: Any, arguments: Any = '{"city": "Oslo"}', name: str = "get_weather") -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(identity: Any, content: Any = "4 degrees", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": content, **more}


def body(messages: Any = HI, *, model: str = "claude-haiku-4-5", stream: bool = False, **more: Any) -> Any:
    """The body that is sent, decoded; options of the request but `extensions` are parameters."""
    extensions = more.pop("extensions", {})
    request = Request(messages=messages, model=model, stream=stream, params=more, extensions=extensions)
    return json.loads(encode_chat(request))


def turns(*messages: Any) -> Any:
    return body(list(messages))["messages"]


CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "plain": HI,
    "system": [{"role": "system", "content": "Be terse."}, *HI, {"role": "developer", "content": "Really."}],
    "cached": [
        {
            "role": "system",
            "content": [{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}],
        },
        *HI,
    ],
    "assistant first": [{"role": "assistant", "content": "Hello!"}, *HI],
    "system alone": [{"role": "system", "content": "Write a poem."}],
    "neighbours": [*HI, {"role": "user", "content": "Still there?"}, {"role": "assistant", "content": "Yes"}],
    "empty texts": [*HI, {"role": "assistant", "content": ""}, {"role": "user", "content": " "}, *HI],
    "images": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
                {"type": "file", "file": {"file_id": "file_1"}},
                {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}},
            ],
        }
    ],
    "tools": [
        *HI,
        {"role": "assistant", "content": "Looking.", "tool_calls": [call("a"), call("b", "")]},
        result("a"),
        result(
            "b", [{"type": "text", "text": "8 degrees"}, {"type": "image_url", "image_url": {"url": PNG}}]
        ),
        {"role": "user", "content": "And now?"},
    ],
    "ids counted anew": [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call("call_0")]},
        result("call_0"),
        {"role": "assistant", "content": None, "tool_calls": [call("call_0")]},
        result("call_0", ""),
    ],
    "functions": [
        *HI,
        {"role": "assistant", "content": None, "function_call": {"name": "get_weather", "arguments": "{}"}},
        {"role": "function", "name": "get_weather", "content": "4 degrees"},
    ],
    "thoughts": [
        *HI,
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [call("toolu_1")],
            "anthropic_content": KEPT,
        },
        result("toolu_1", is_error=True),
    ],
}

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "stop": {"stop": ["a", "b"], "max_tokens": 7, "user": "u-1", "service_tier": "default"},
    "tools": {"tools": [TOOL, OWN_TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
    "named tool": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
    "functions": {"functions": [WEATHER], "function_call": "auto"},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
    "json": {"response_format": {"type": "json_object"}},
    "effort": {"reasoning_effort": "high"},
    "dropped": {
        "seed": 1,
        "logit_bias": {},
        "presence_penalty": 0.1,
        "n": 1,
        "stream_options": {"include_usage": True},
    },
    "own": {"thinking": {"type": "enabled", "budget_tokens": 2000}, "metadata": {"user_id": "u"}},
}


# Answers ...


def sse(*events: dict[str, Any]) -> bytes:
    """Events as the API writes them, padding and all."""
    written = []
    for place, event in enumerate(events):
        data = json.dumps(event, separators=(",", ":"))[:-1] + " " * (place % 4) + "}"
        written.append(f"event: {event['type']}\ndata: {data}\n\n")
    return "".join(written).encode()


def start(**more: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 5,
        "output_tokens": 1,
    }
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
    return {"type": "message_start", "message": {**message, **more}}


def block(
    index: int, kind: str, *deltas: dict[str, Any], stop: bool = True, **more: Any
) -> list[dict[str, Any]]:
    """A block from its start to its stop."""
    begin = {"type": "content_block_start", "index": index, "content_block": {"type": kind, **more}}
    pieces = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [begin, *pieces, *([{"type": "content_block_stop", "index": index}] if stop else [])]


def text_block(index: int, *texts: str) -> list[dict[str, Any]]:
    return block(index, "text", *({"type": "text_delta", "text": text} for text in texts), text="")


def tool_block(index: int, identity: str, name: str, *pieces: str, stop: bool = True) -> list[dict[str, Any]]:
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block(index, "tool_use", *deltas, stop=stop, id=identity, name=name, input={})


def thinking_block(index: int, signature: str, *texts: str) -> list[dict[str, Any]]:
    deltas = [{"type": "thinking_delta", "thinking": text} for text in texts]
    deltas.append({"type": "signature_delta", "signature": signature})
    return block(index, "thinking", *deltas, thinking="", signature="")


def ending(reason: str | None = "end_turn", **usage: Any) -> list[dict[str, Any]]:
    delta = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
    return [{**delta, "usage": {"output_tokens": 20, **usage}}, {"type": "message_stop"}]


PING = {"type": "ping"}
CITATION = {
    "type": "char_location",
    "cited_text": "grass is green",
    "document_index": 0,
    "document_title": None,
    "file_id": None,
    "start_char_index": 0,
    "end_char_index": 14,
}
SEARCH_RESULT = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [
        {
            "type": "web_search_result",
            "url": "https://example.org",
            "title": "Rivers",
            "encrypted_content": "eHh4",
            "page_age": None,
        }
    ],
}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rivers"}}

STREAMS: dict[str, list[dict[str, Any]]] = {
    "text": [start(), *text_block(0, "Hel", "lo"), PING, *ending()],
    "tools": [
        start(),
        PING,
        *text_block(0, "Looking."),
        *tool_block(1, "toolu_1", "get_weather", "", '{"ci', 'ty": "Os', 'lo"}'),
        *tool_block(2, "toolu_2", "now", ""),
        *ending("tool_use", input_tokens=12),
    ],
    "thoughts": [
        start(),
        *thinking_block(0, "c2ln", "Let me ", "see."),
        *block(1, "redacted_thinking", data="eHh4"),
        *text_block(2, "Hm."),
        *thinking_block(3, "b21pdA=="),
        *tool_block(4, "toolu_1", "f", '{"a":1}'),
        *ending("tool_use", output_tokens_details={"thinking_tokens": 7}),
    ],
    "search": [
        start(),
        *block(
            0,
            "server_tool_use",
            {"type": "input_json_delta", "partial_json": '{"query": '},
            {"type": "input_json_delta", "partial_json": '"rivers"}'},
            id="srvtoolu_1",
            name="web_search",
            input={},
        ),
        *block(1, **{("kind" if key == "type" else key): value for key, value in SEARCH_RESULT.items()}),
        *block(
            2,
            "text",
            {"type": "citations_delta", "citation": CITATION},
            {"type": "text_delta", "text": "The Rhine."},
            text="",
        ),
        *ending("pause_turn", server_tool_use={"web_search_requests": 1, "web_fetch_requests": 0}),
    ],
    "refusal": [start(), PING, *ending("refusal")],
    "cut by its length": [
        start(),
        *text_block(0, "Well"),
        *tool_block(1, "toolu_1", "f", '{"a": "b', stop=False),
        *ending("max_tokens"),
    ],
    "window": [start(), *text_block(0, "Well"), *ending("model_context_window_exceeded")],
}
