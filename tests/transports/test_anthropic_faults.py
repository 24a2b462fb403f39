"""The standard stack over Anthropic's dialect and a server that fails: what a caller meets, end to end."""

from __future__ import annotations

import pytest
from transports.conftest import SOON, ask
from wire.anthropic_cases import TOOL

import resilient_llm as rl
from resilient_llm.testing import (
    Answer,
    Call,
    Cut,
    Dribble,
    FaultServer,
    Reply,
)

CALLS = Reply(
    "Looking.", calls=[Call("get_weather", {"city": "Århus"}), Call("now")], reasoning="Hm, the weather."
)


def client(server: FaultServer, **options) -> rl.AsyncClient:
    return rl.AsyncClient("anthropic", model="claude-x", base_url=server.url, api_key="k", **options)


@pytest.mark.parametrize("fault", [Answer(), Dribble(size=7)])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_sound_answer(stream, fault):
    """Text, model, usage and finish reason, however the bytes are cut."""
    async with FaultServer(fault, reply="Rhein, Po, Волга 🌊") as server, client(server) as llm:
        done = await ask(llm, stream)
    assert (done.text, done.finish_reason, done.attempts) == ("Rhein, Po, Волга 🌊", "stop", 1)
    assert done.model
    assert done.usage.total_tokens == server.requests[0].tokens + (done.usage.completion_tokens or 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_to_and_fro(stream):
    """Thoughts, text and calls come; results go back, thoughts with them, and the server does not complain."""
    async with FaultServer(reply=CALLS) as server, client(server) as llm:
        done = await ask(llm, stream, tools=[TOOL])
        results = [{"role": "tool", "tool_call_id": call.id, "content": "4"} for call in done.tool_calls]
        await llm.complete([*done.messages, *results], tools=[TOOL])
    assert (done.reasoning, done.text, done.finish_reason) == ("Hm, the weather.", "Looking.", "tool_calls")
    assert [(call.name, call.arguments) for call in done.tool_calls] == [
        ("get_weather", '{"city": "Århus"}'),
        ("now", "{}"),
    ]
    _, said, returned = server.requests[1].body["messages"]
    assert [block["type"] for block in said["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block["type"] for block in returned["content"]] == ["tool_result", "tool_result"]


async def test_a_stream_without_its_marker_is_whole():
    """The stop reason came."""
    async with FaultServer(Cut(finished=True, clean=True), reply="Rhine") as server, client(server) as llm:
        done = await ask(llm, stream=True)
    assert (done.text, done.finish_reason, done.attempts) == ("Rhine", "stop", 1)


async def test_a_call_that_is_cut_is_repeated():
    """Nothing of a call is handed over before it is whole, so a call broken off is no commit."""
    reply = Reply(calls=[Call("f", {"a": "some longer text"})])
    async with FaultServer([Cut(after=3), Answer()], reply=reply) as server, client(server) as llm:
        done = await ask(llm, stream=True)
    assert (done.tool_calls[0].arguments, done.attempts) == ('{"a": "some longer text"}', 2)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_overlong_conversation_is_pruned_to_what_the_server_says(stream):
    """The figures of the refusal teach the window."""
    turns = [{"role": role, "content": "word " * 60} for _ in range(10) for role in ("user", "assistant")]
    async with FaultServer(window=900, reply="Rhine") as server, client(server) as llm:
        request = rl.Request(
            messages=[*turns, {"role": "user", "content": "Hi"}], stream=stream, params={"max_tokens": 50}
        )
        async with await llm.send(request) as response:
            done = await response.completion()
    assert done.text == "Rhine"
    assert done.pruned.dropped > 0
    assert [seen.status for seen in server.requests] == [400, 200]


def continued(body) -> str:
    """What a model says that goes on with an answer that was begun."""
    last = body["messages"][-1]
    whole = "one two three four five"
    return whole.removeprefix(last["content"]) if last["role"] == "assistant" else whole


@pytest.mark.parametrize(
    ("model", "restarts"), [("claude-haiku-4-5", 0), ("claude-opus-4-8", 1)], ids=["resumed", "restarted"]
)
async def test_a_broken_stream_goes_on(model, restarts):
    """By a prefill where the model honours one, else from the beginning; no model that refuses one is sent it."""
    async with (
        FaultServer([Cut(after=3), Answer()], reply=continued) as server,
        client(server, recovery="resume") as llm,
        llm.stream("Count.", model=model, **SOON) as response,
    ):
        events = [event async for event in response]
        done = await response.completion()
    assert done.text == "one two three four five"
    assert sum(isinstance(event, rl.Restarted) for event in events) == restarts
    roles = [[message["role"] for message in seen.body["messages"]] for seen in server.requests]
    assert roles == [["user"], ["user"] if restarts else ["user", "assistant"]]


async def test_the_length_that_is_set_aside_unasked_counts_against_the_window() -> None:
    """This API wants a length for the answer; where the caller names none, pruning leaves room for the usual one."""
    turns = [
        {"role": role, "content": "lorem ipsum " * 100} for _ in range(20) for role in ("user", "assistant")
    ]
    async with FaultServer(window=8000, reply="Rhine") as server, client(server) as llm:
        done = await llm.complete([*turns, {"role": "user", "content": "Hi"}])
    assert done.text == "Rhine"
    refused, fitting = server.requests
    assert refused.status == 400
    assert fitting.tokens + fitting.body["max_tokens"] <= 8000
