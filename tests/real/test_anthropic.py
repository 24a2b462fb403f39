"""A real llama.cpp server by its Anthropic-compatible routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from real.llama import WINDOW

import resilient_llm as rl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.real

RIVERS = [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Name three rivers."}]
ENDLESS = {"max_tokens": 400, "ignore_eos": True, "temperature": 0}


@pytest.fixture
async def claude(server) -> AsyncIterator[rl.AsyncClient]:
    """A client of the Anthropic kind; any key will do."""
    async with rl.AsyncClient("anthropic", base_url=server.url, api_key="any") as client:
        yield client


async def test_both_dialects_give_the_same_answer(claude, llm):
    """The same model, the same conversation: the same text, tokens and ending, whole or streamed."""
    options = {"max_tokens": 12, "temperature": 0, "seed": 1}
    expected = await llm.complete(RIVERS, **options, cache_prompt=False)
    whole = await claude.complete(RIVERS, **options)
    async with claude.stream(RIVERS, **options) as response:
        streamed = await response.completion()
    for done in (whole, streamed):
        assert (done.text, done.finish_reason, done.attempts) == (expected.text, "length", 1)
        assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (expected.usage.prompt_tokens, 12)
        assert done.model == "smollm2"


async def test_a_conversation_goes_on(claude):
    """The message of an answer is what the next turn takes."""
    first = await claude.complete(RIVERS, max_tokens=6)
    second = await claude.complete([*first.messages, {"role": "user", "content": "And then?"}], max_tokens=6)
    assert second.usage.prompt_tokens > first.usage.prompt_tokens + first.usage.completion_tokens


async def test_the_listing_and_the_count_are_the_servers(claude):
    """The window in use, and a count that is what a call is charged for."""
    (model,) = await claude.models()
    assert (model.id, model.context_length) == ("smollm2", WINDOW)
    done = await claude.complete(RIVERS, max_tokens=1)
    assert await claude.count_tokens(RIVERS) == done.usage.prompt_tokens


async def test_the_server_stops_when_the_reader_has_left(claude, server):
    """A stream that is closed early is not written to its end."""
    async with claude.stream("Tell me a long story.", **ENDLESS) as response:
        async for event in response:
            if isinstance(event, rl.TextDelta):
                break
    await server.until_busy(busy=False)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_overflow_is_known_as_one(server, stream):
    """The server's own shape of an error, with its figures, by this route as well."""
    async with rl.AsyncClient("anthropic", base_url=server.url, api_key="any", token_budget=None) as claude:
        request = rl.Request(messages=[{"role": "user", "content": "river " * WINDOW}], stream=stream)
        with pytest.raises(rl.ModelContextLengthError) as caught:
            await claude.send(request)
    assert caught.value.context_limit == WINDOW
    assert (caught.value.context_requested or 0) > WINDOW
