"""The standard stack over dialects that are not OpenAI's and a server that fails: what a caller meets, end to end."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from transports.conftest import ask, until

import resilient_llm as rl
from resilient_llm.testing import (
    Answer,
    Cut,
    ErrorEvent,
    FaultServer,
    Hollow,
    KeepAlive,
    Malformed,
    Reset,
    Stall,
    Status,
)

OPTIONS = {"anthropic": {"model": "claude-x", "api_key": "k"}, "ollama": {"model": "qwen3"}}


@pytest.fixture(params=OPTIONS)
def client(request):
    """Makes a client of a dialect for an address."""
    return partial(rl.AsyncClient, request.param, **OPTIONS[request.param])


FAULTS = [
    Status.overloaded(),
    Status.failed(),
    Status.rate_limited(0.01),
    Reset(),
    Cut(after=0),
    Cut(after=0, clean=True),
    Malformed(),
    Hollow(),
    ErrorEvent(),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_fails_before_a_word_is_repeated(client, stream, fault):
    """Refusals, broken connections, broken bodies, an error in a 200: the next attempt answers."""
    async with FaultServer([fault, Answer()], reply="Rhine") as server, client(base_url=server.url) as llm:
        done = await ask(llm, stream)
    assert (done.text, done.attempts, len(server.requests)) == ("Rhine", 2, 2)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Cut(after=3), rl.LLMError),
        (Cut(after=3, clean=True), rl.ModelResponseInvalidError),
        (ErrorEvent(after=3), rl.LLMError),
        (Malformed(after=3), rl.ModelResponseInvalidError),
        (Stall(after=3), rl.ModelTimeoutError),
        (KeepAlive(after=3, every=0.05), rl.ModelTimeoutError),
    ],
    ids=str,
)
async def test_what_fails_after_a_word_is_the_callers(client, fault, error):
    """It is raised with what had come, and not repeated; signs of life are no content."""
    async with (
        FaultServer(fault, reply="one two three four five") as server,
        client(base_url=server.url) as llm,
    ):
        with pytest.raises(error) as caught:
            await ask(llm, stream=True, idle_timeout=0.4)
    assert caught.value.partial.text == "one two three"
    assert len(server.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_call_leaves_the_server(client, stream):
    """The connection is closed, nothing is repeated."""
    async with FaultServer(Answer(latency=30, interval=30)) as server, client(base_url=server.url) as llm:
        task = asyncio.create_task(ask(llm, stream))
        await until(lambda: server.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not server.open_connections)
    assert [seen.ending for seen in server.requests] == ["left"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_deadline_is_kept(client, stream):
    """A server that does not answer in time is left."""
    async with FaultServer(Stall(after=None)) as server, client(base_url=server.url) as llm:
        with pytest.raises(rl.DeadlineExceededError):
            await ask(llm, stream, deadline=0.3)
    assert len(server.requests) == 1
