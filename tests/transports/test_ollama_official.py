"""The official client as an independent judge: it sends what we send, and reads what we read."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest

from resilient_llm.models import Request
from resilient_llm.transports import OllamaTransport

QUESTION = [{"role": "user", "content": "Hi"}]
PIXEL = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "d",
        "parameters": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}},
    },
}
CALL = {"function": {"name": "f", "arguments": {"a": "x"}}}
OUR_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "x"}'}}

REQUESTS: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "options": (
        {
            "messages": QUESTION,
            "options": {"temperature": 0.5, "num_predict": 9, "stop": ["x"], "seed": 1, "num_ctx": 8192},
            "keep_alive": "10m",
            "think": False,
        },
        QUESTION,
        {"temperature": 0.5, "max_tokens": 9, "stop": "x", "seed": 1, "num_ctx": 8192}
        | {"keep_alive": "10m", "think": False},
    ),
    "image": (
        {"messages": [{"role": "user", "content": "What?", "images": [PIXEL]}]},
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                ],
            }
        ],
        {},
    ),
    "schema": (
        {"messages": QUESTION, "format": SCHEMA},
        QUESTION,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
    ),
    "tools": (
        {
            "messages": [
                *QUESTION,
                {"role": "assistant", "content": "", "tool_calls": [CALL]},
                {"role": "tool", "content": "1", "tool_name": "f"},
            ],
            "tools": [TOOL],
        },
        [
            *QUESTION,
            {"role": "assistant", "content": None, "tool_calls": [OUR_CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
        ],
        {"tools": [TOOL]},
    ),
}

LINE = {"model": "m", "created_at": "2026-08-21T10:00:00.1Z", "done": False}
END = {**LINE, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
COUNTS = {"prompt_eval_count": 26, "eval_count": 7, "total_duration": 5}

ANSWERS: dict[str, list[dict[str, Any]]] = {
    "text": [{"content": "Hel"}, {"content": "lo"}],
    "thoughts": [{"content": "", "thinking": "hm"}, {"content": "so"}],
    "calls": [{"content": "", "tool_calls": [CALL, {"function": {"name": "g", "arguments": {}}}]}],
}


def essence(body: dict[str, Any]) -> dict[str, Any]:
    """A body without what only one of the two says and Ollama takes for nothing."""
    ours = {"truncate", "shift"}
    return {
        **{key: value for key, value in body.items() if value not in ([], {}, None) and key not in ours},
        "messages": [
            {
                key: value
                for key, value in message.items()
                if value and key not in {"tool_calls", "tool_call_id"}
            }
            | {"calls": [call["function"] | {"index": 0} for call in message.get("tool_calls") or ()]}
            for message in body["messages"]
        ],
    }


@pytest.fixture
async def official():
    """The official client for a server; closed when the test ends."""
    clients = []

    def make(server):
        clients.append(ollama.AsyncClient(server.url))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REQUESTS)
async def test_it_sends_what_we_send(serve, connect, official, name, stream):
    """The same request in its words and in ours has the same body."""

    async def script(_request, wire):
        await wire.answer({**END, **COUNTS})

    server = await serve(script)
    theirs, messages, params = REQUESTS[name]
    answer: Any = await official(server).chat("m", stream=stream, **theirs)
    if stream:
        assert [part.done async for part in answer] == [True]
    request = Request(messages=messages, model="m", params=params, stream=stream)
    await (await connect(server, OllamaTransport)(request)).completion()
    wanted, ours = (essence(request.json) for request in server.requests)
    assert ours == wanted


@pytest.mark.parametrize("reason", ["stop", "length"])
@pytest.mark.parametrize("name", ANSWERS)
async def test_it_reads_what_we_read(serve, connect, official, name, reason):
    """Text, thoughts, calls, counts and reason of the same bytes, whole and streamed."""
    pieces = ANSWERS[name]
    whole: dict[str, Any] = {}
    whole |= {key: value for piece in pieces for key, value in piece.items() if key != "content"}
    whole["content"] = "".join(piece["content"] for piece in pieces)
    end = {**END, **COUNTS, "done_reason": reason}

    async def script(request, wire):
        if not request.json["stream"]:
            await wire.answer({**end, "message": {"role": "assistant", **whole}})
            return
        lines = [{**LINE, "message": {"role": "assistant", **piece}} for piece in pieces]
        await wire.answer(b"".join(json.dumps(line).encode() + b"\n" for line in (*lines, end)))

    server = await serve(script)
    client = official(server)
    transport = connect(server, OllamaTransport)
    for stream in (False, True):
        answer: Any = await client.chat("m", messages=QUESTION, stream=stream)
        parts = [part async for part in answer] if stream else [answer]
        done = await (await transport(Request(messages=QUESTION, model="m", stream=stream))).completion()
        assert done.text == "".join(part.message.content or "" for part in parts)
        assert done.reasoning == "".join(part.message.thinking or "" for part in parts)
        calls = [call.function for part in parts for call in part.message.tool_calls or ()]
        assert [(call.name, json.loads(call.arguments)) for call in done.tool_calls] == [
            (call.name, dict(call.arguments)) for call in calls
        ]
        last = parts[-1]
        assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (
            last.prompt_eval_count,
            last.eval_count,
        )
        told = "stop" if done.finish_reason == "tool_calls" else done.finish_reason
        assert (told, done.model) == (last.done_reason, last.model)
