"""The standard stack over Ollama's dialect and a server that fails: what a caller meets, end to end."""

from __future__ import annotations

import pytest
from transports.conftest import ask

import resilient_llm as rl
from resilient_llm.testing import (
    Answer,
    Call,
    Dribble,
    FaultServer,
    Reply,
    Reset,
    Status,
)
from resilient_llm.transports import AutomaticTransport
from resilient_llm.transports.discovery import Place

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
CALLS = Reply("Looking.", calls=[Call("get_weather", {"city": "Århus"}), Call("now")], reasoning="Hm.")
TURNS = [{"role": role, "content": "a b c d " * 40} for _ in range(10) for role in ("user", "assistant")]
LONG = [*TURNS, {"role": "user", "content": "Hi"}]


def client(server: FaultServer, **options) -> rl.AsyncClient:
    return rl.AsyncClient("ollama", model="qwen3", base_url=server.url, **options)


@pytest.mark.parametrize("fault", [Answer(), Dribble(size=7)])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_sound_answer(stream, fault):
    """Text, model, usage and finish reason, however the bytes are cut."""
    async with FaultServer(fault, reply="Rhein, Po, Волга 🌊") as server, client(server) as llm:
        done = await ask(llm, stream)
    assert (done.text, done.finish_reason, done.attempts) == ("Rhein, Po, Волга 🌊", "stop", 1)
    assert (done.backend, done.usage.prompt_tokens) == ("ollama", server.requests[0].tokens)


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_to_and_fro(stream):
    """Thoughts, text and calls come; results go back, and the server does not complain."""
    async with FaultServer(reply=CALLS) as server, client(server) as llm:
        done = await ask(llm, stream, tools=[TOOL])
        results = [{"role": "tool", "tool_call_id": call.id, "content": "4"} for call in done.tool_calls]
        await llm.complete([*done.messages, *results], tools=[TOOL])
    assert (done.reasoning, done.text, done.finish_reason) == ("Hm.", "Looking.", "tool_calls")
    assert [(call.name, call.arguments) for call in done.tool_calls] == [
        ("get_weather", '{"city": "Århus"}'),
        ("now", "{}"),
    ]
    _, said, *returned = server.requests[1].body["messages"]
    assert [call["function"]["arguments"] for call in said["tool_calls"]] == [{"city": "Århus"}, {}]
    assert [message["tool_name"] for message in returned] == ["get_weather", "now"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_overlong_conversation_is_pruned_and_not_cut(stream):
    """Ollama refuses because it may not cut; the list of loaded models teaches the window."""
    async with FaultServer(window=900, reply="Rhine", model="qwen3") as server, client(server) as llm:
        request = rl.Request(messages=LONG, stream=stream, params={"max_tokens": 50})
        async with await llm.send(request) as response:
            done = await response.completion()
    assert done.text == "Rhine"
    assert done.pruned.dropped > 0
    assert [seen.status for seen in server.requests] == [400, 200]


async def test_a_caller_may_have_ollama_cut():
    """Then nothing is refused, and nothing pruned here."""
    async with FaultServer(window=900) as server, client(server, token_budget=None) as llm:
        await llm.complete(LONG, truncate=True)
    assert [seen.status for seen in server.requests] == [200]


async def test_embeddings_that_fail_are_repeated():
    """They meet the same faults."""
    async with FaultServer([Status.overloaded(), Answer()]) as server, client(server) as llm:
        vectors = await llm.embed(["a", "b"], dimensions=8)
    assert [len(vector) for vector in vectors.vectors] == [8, 8]
    assert len(server.requests) == 2


async def test_an_unknown_model_is_named_by_the_server():
    """With what to do next."""
    async with FaultServer(Status(404)) as server, client(server) as llm:
        with pytest.raises(rl.ModelNotFoundError, match="resilient-llm models") as caught:
            await llm.complete("Hello")
    assert (caught.value.backend, caught.value.model, caught.value.attempts) == ("ollama", "qwen3", 1)


async def test_auto_finds_it_and_says_so():
    """By its tags; the model is the one that is loaded."""
    async with FaultServer([Reset(), Answer()], model="qwen3", window=4096) as server:
        transport = AutomaticTransport(places=[Place("ollama", server.url)])
        async with rl.AsyncClient(transport=transport) as llm:
            done = await ask(llm, stream=True)
            assert transport.context_window("") == 4096
    assert (done.backend, done.attempts) == ("ollama", 2)
    assert [seen.body["model"] for seen in server.requests] == ["qwen3:latest", "qwen3:latest"]
