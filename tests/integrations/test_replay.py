"""`recovery="replay"`: broken streams of wrapped clients; the oracle is an unbroken stream in the official SDKs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import anthropic
import httpx2
import openai
import pytest
from integrations.test_oracle import helped, items, numbers_apart
from integrations.test_wrap_openai import ROLE, TEXT, chunk
from integrations.test_wrap_openai import stream as broken

import resilient_llm as rl
from resilient_llm.integrations import replaying
from resilient_llm.policy.retry_budget import RetryBudget
from resilient_llm.testing import (
    Answer,
    Call,
    Cut,
    Dribble,
    ErrorEvent,
    FaultServer,
    Garbage,
    Reply,
    Stall,
    Status,
)

MESSAGES: Any = [{"role": "user", "content": "Name three rivers."}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
BLOCKS: Any = [{"name": "weather", "input_schema": {"type": "object"}}]
RIVERS = "The Rhine, the Elbe, the Danube ✓ and some more."
WEATHER = Reply("Let me see.", calls=[Call("weather", {"city": "Bonn"}), Call("weather", {"city": "Ulm"})])


def _at_once() -> Any:
    while True:
        yield 0.01


def wrapped(kind: type, server: FaultServer, **options: Any) -> Any:
    url = server.base_url if kind.__module__.startswith("openai") else server.url
    client = kind(base_url=url, api_key="sk-test")
    return rl.wrap(
        client, **{"recovery": "replay", "wait": _at_once, "jitter": None, "breaker": None, **options}
    )


class OwnTransport(httpx2.AsyncHTTPTransport):
    """Nothing stands in for it."""


class DribbledCut(Dribble):
    """A few bytes at a time, and then no more."""

    async def play(self, exchange: Any) -> None:
        await exchange.head(200, {"content-type": exchange.dialect.kind, "transfer-encoding": "chunked"})
        for at in range(0, 1400, 7):
            await exchange.chunk(exchange.written(self.reply).all[at : at + 7])
            await exchange.flush()
        exchange.cut()


CALLS: dict[str, tuple[type, Any]] = {
    "chat": (
        openai.AsyncOpenAI,
        lambda c: items(c.chat.completions.create(model="m", messages=MESSAGES, stream=True)),
    ),
    "chat, choices": (
        openai.AsyncOpenAI,
        lambda c: items(c.chat.completions.create(model="m", messages=MESSAGES, stream=True, n=2)),
    ),
    "chat, helper": (
        openai.AsyncOpenAI,
        lambda c: helped(c.chat.completions.stream(model="m", messages=MESSAGES)),
    ),
    "responses": (
        openai.AsyncOpenAI,
        lambda c: items(c.responses.create(model="m", input="Rivers?", stream=True)),
    ),
    "responses, helper": (
        openai.AsyncOpenAI,
        lambda c: helped(c.responses.stream(model="m", input="Rivers?")),
    ),
    "messages": (
        anthropic.AsyncAnthropic,
        lambda c: items(c.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=True)),
    ),
    "messages, helper": (
        anthropic.AsyncAnthropic,
        lambda c: helped(c.messages.stream(model="m", max_tokens=9, messages=MESSAGES)),
    ),
}

BREAKS: dict[str, list[Any]] = {
    "reset": [Cut(after=3), Answer()],
    "end": [Cut(after=3, clean=True), Answer()],
    "in a line": [Cut(after=2, at=40), Answer()],
    "error event": [ErrorEvent(after=4), Answer()],
    "twice": [Cut(after=2), Cut(after=5), Answer()],
    "before what was there": [Cut(after=6), Cut(after=1), Answer()],
    "refused at first": [Cut(after=4), Status(503), Answer()],
    "dribbled": [DribbledCut(), Dribble(size=7)],
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_broken_stream_reads_as_an_unbroken_one(name):
    """Chunks, events and what the SDK's helpers make of them are those of a stream that never broke."""
    kind, call = CALLS[name]
    faults = [Answer()] + [fault for case in BREAKS.values() for fault in case]
    async with FaultServer(faults, reply=RIVERS) as server, wrapped(kind, server) as client:
        expected = numbers_apart(await call(client))
        for words, case in BREAKS.items():
            before = len(server.requests)
            assert numbers_apart(await call(client)) == expected, words
            assert len(server.requests) - before == len(case)


@pytest.mark.parametrize("kind", [openai.AsyncOpenAI, anthropic.AsyncAnthropic])
async def test_tool_calls_are_handed_over_when_the_answer_is_complete(kind):
    """A break within a call, or between two, leaves no trace: the reader gets the text at once and the calls last."""
    faults = [Answer(), Cut(after=2), Cut(after=5), Cut(after=9, clean=True), Answer()]
    async with FaultServer(faults, reply=WEATHER) as server, wrapped(kind, server) as client:

        def call() -> Any:
            if kind is openai.AsyncOpenAI:
                return helped(client.chat.completions.stream(model="m", messages=MESSAGES, tools=TOOLS))
            return helped(client.messages.stream(model="m", max_tokens=9, messages=MESSAGES, tools=BLOCKS))

        expected = numbers_apart(await call())
        assert numbers_apart(await call()) == expected
        assert len(server.requests) == 5


@pytest.mark.parametrize("kind", [openai.AsyncOpenAI, anthropic.AsyncAnthropic])
async def test_another_answer_is_the_sdks_connection_error(kind):
    """Of an answer that differs nothing reaches the reader, who gets the error that broke the first."""
    faults = [Cut(after=4), Answer(reply="The Rhine, the Oder, the Danube.")]
    async with FaultServer(faults, reply=RIVERS) as server, wrapped(kind, server) as client:
        texts, error = await read_until_error(client)
        assert texts == "The Rhine, the Elbe,"
        assert error.llm_error.code == rl.ErrorCode.MODEL_RESPONSE_INVALID
        assert error.llm_error.partial.text == texts
        assert error.llm_error.attempts == len(server.requests) == 2
        assert "differs" in error.llm_error.__notes__[-1]


@pytest.mark.parametrize("kind", [openai.AsyncOpenAI, anthropic.AsyncAnthropic])
async def test_a_shorter_answer_differs(kind):
    """The reader has more than the second attempt says in all."""
    faults = [Cut(after=4), Answer(reply="The Rhine, the")]
    async with FaultServer(faults, reply=RIVERS) as server, wrapped(kind, server) as client:
        texts, error = await read_until_error(client)
        assert (texts, error.llm_error.partial.text) == ("The Rhine, the Elbe,",) * 2


@pytest.mark.parametrize("kind", [openai.AsyncOpenAI, anthropic.AsyncAnthropic])
async def test_what_is_more_than_text_is_not_repeated(kind):
    """A reader that has thoughts of the model would get others."""
    reply = Reply(RIVERS, reasoning="Rivers, three of them.")
    async with FaultServer([Cut(after=6), Answer()], reply=reply) as server, wrapped(kind, server) as client:
        texts, error = await read_until_error(client)
        assert texts
        assert error.llm_error.partial.text == texts
        assert len(server.requests) == 1
        assert "more than text" in error.llm_error.__notes__[-1]


@pytest.mark.parametrize("options", [{"max_retries": 0}, {"retry_budget": RetryBudget(capacity=5)}])
async def test_retry_says_whether_there_is_another_attempt(options):
    """Without one left, or without a budget, the break is the reader's."""
    async with FaultServer([Cut(after=4), Answer()], reply=RIVERS) as server:
        async with wrapped(openai.AsyncOpenAI, server, **options) as client:
            texts, error = await read_until_error(client)
        assert (texts, error.llm_error.partial.text) == ("The Rhine, the Elbe,",) * 2
        assert error.llm_error.attempts == len(server.requests) == 1


async def test_attempts_that_fail_again_end_with_their_error():
    """Every attempt counts, and the partial answer is what the reader has."""
    faults = [Cut(after=4), Status(503)]
    async with FaultServer(faults, reply=RIVERS) as server:
        async with wrapped(openai.AsyncOpenAI, server, max_retries=2) as client:
            texts, error = await read_until_error(client)
        assert error.llm_error.status == 503
        assert error.llm_error.partial.text == texts == "The Rhine, the Elbe,"
        assert error.llm_error.attempts == len(server.requests) == 3


async def test_a_stall_is_replayed_and_the_deadline_bounds_it_all():
    """Silence between two pieces breaks a stream, too; the last word has the deadline."""
    async with FaultServer([Stall(after=3), Answer()], reply=RIVERS) as server:
        async with wrapped(openai.AsyncOpenAI, server, idle_timeout=0.1) as client:
            texts, error = await read_until_error(client)
        assert (texts, error) == (RIVERS, None)
    async with FaultServer([Cut(after=3), Stall(after=1)], reply=RIVERS) as server:
        async with wrapped(openai.AsyncOpenAI, server, deadline=0.5) as client:
            texts, error = await read_until_error(client)
        assert isinstance(error, openai.APITimeoutError)
        assert error.llm_error.partial.text == texts == "The Rhine, the"


async def test_leaving_while_the_call_is_repeated_leaves_nothing_behind():
    """The second attempt is dropped with its connection, however far it has come."""
    faults = [Cut(after=3), Stall(after=1)]
    async with FaultServer(faults, reply=RIVERS) as server, wrapped(openai.AsyncOpenAI, server) as client:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        reading = asyncio.create_task(items(_now(stream)))
        await until(lambda: len(server.requests) == 2)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await stream.close()
        await until(lambda: server.requests[-1].ending == "left")


async def test_a_stream_that_is_left_has_let_go_of_its_connection():
    """When the SDK has closed it, the pool of a transport of one's own is empty."""
    transport = OwnTransport()
    async with FaultServer(Stall(after=3), reply=RIVERS) as server:
        http_client = httpx2.AsyncClient(transport=transport)
        async with rl.wrap(
            openai.AsyncOpenAI(base_url=server.base_url, api_key="sk-test", http_client=http_client),
            recovery="replay",
        ) as client:
            stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            await anext(stream)
            assert transport._pool.connections
            await stream.close()
            assert not transport._pool.connections


async def test_what_only_the_bytes_tell_is_more_than_text(server):
    """Probabilities of tokens reach the reader beside the text, and would not be the same again."""
    said = chunk(content="One ")
    said["choices"][0]["logprobs"] = {
        "content": [{"token": "One", "logprob": -0.1, "bytes": None, "top_logprobs": []}]
    }
    server.scripts = [broken(ROLE, said, done=False), broken(*TEXT)]
    async with rl.wrap(server.client(), recovery="replay", wait=_at_once, jitter=None) as client:
        texts, error = await read_until_error(client)
    assert (texts, error.llm_error.partial.text, len(server.bodies)) == ("One ", "One ", 1)


async def test_half_an_event_never_reaches_the_reader():
    """The bytes before the break end with a whole event, and those after it begin with one."""
    async with FaultServer(
        [Answer(), *[Cut(at=size) for size in (700, 903, 1000)], Answer()], reply=RIVERS
    ) as server:
        client = rl.wrap(
            httpx2.AsyncClient(base_url=server.base_url), recovery="replay", wait=_at_once, jitter=None
        )

        async def ask() -> tuple[list[bytes], str]:
            body = {"model": "m", "messages": MESSAGES, "stream": True}
            async with client.stream("POST", "/chat/completions", json=body) as response:
                read = [piece async for piece in response.aiter_raw()]
            return read, text_in(b"".join(read))

        assert (await ask())[1] == RIVERS
        read, text = await ask()
        assert text == RIVERS
        assert all(piece.endswith(b"\n\n") for piece in read)
        assert len(server.requests) == 5
        await client.aclose()


@pytest.mark.parametrize("kind", [openai.OpenAI, anthropic.Anthropic])
async def test_sync_clients_replay_too(kind):
    """The helper of a blocking client makes the whole message of a stream that broke twice."""
    faults = [Cut(after=2), Cut(after=5), Answer()]
    async with FaultServer(faults, reply=RIVERS) as server:

        def read() -> str:
            with wrapped(kind, server) as client:
                if kind is openai.OpenAI:
                    with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
                        return stream.get_final_completion().choices[0].message.content or ""
                with client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream:
                    return stream.get_final_text()

        assert await asyncio.to_thread(read) == RIVERS
        assert len(server.requests) == 3


async def test_sessions_of_aiohttp_replay_too():
    """The bytes of a session's response are those of all attempts."""
    body = {"model": "m", "messages": MESSAGES, "stream": True}
    async with FaultServer([Answer(), Cut(after=3), Answer()], reply=RIVERS) as server:
        session = rl.wrap(aiohttp.ClientSession(), recovery="replay", wait=_at_once, jitter=None)
        async with session:

            async def ask() -> str:
                async with session.post(server.base_url + "/chat/completions", json=body) as answer:
                    return text_in(await answer.read())

            assert await ask() == await ask() == RIVERS
        assert len(server.requests) == 3


async def test_a_second_answer_that_is_no_stream_differs():
    """A backend that answers the repeated call with plain JSON tells nothing that could be compared."""
    choice = {"index": 0, "message": {"role": "assistant", "content": RIVERS}, "finish_reason": "stop"}
    plain = Garbage(body=json.dumps({"id": "c", "choices": [choice]}).encode(), kind="application/json")
    async with FaultServer([Cut(after=3), plain], reply=RIVERS) as server:
        async with wrapped(openai.AsyncOpenAI, server) as client:
            texts, error = await read_until_error(client)
        assert error.llm_error.partial.text == texts == "The Rhine, the"


async def test_a_stream_too_long_to_be_kept_is_not_repeated(monkeypatch):
    """What the reader has is remembered up to a limit; behind it a break is a break."""
    monkeypatch.setattr(replaying, "MOST_BYTES", 600)
    async with FaultServer([Answer(), Cut(after=7)], reply=RIVERS) as server:
        async with wrapped(openai.AsyncOpenAI, server) as client:
            assert await read_until_error(client) == (RIVERS, None)
            _, error = await read_until_error(client)
        assert "too much" in error.llm_error.__notes__[-1]
        assert len(server.requests) == 2


@pytest.mark.parametrize("given", ["restart", "resume", "sometimes"])
def test_recoveries_that_a_client_cannot_tell_of_are_refused(given):
    """A wrapped client knows no restarts, a client of ours no replays."""
    with pytest.raises(ValueError, match="'replay'"):
        rl.wrap(openai.AsyncOpenAI(api_key="sk-test"), recovery=given)
    with pytest.raises(ValueError, match="wrap"):
        rl.AsyncClient("lmstudio", recovery="replay")


def text_in(stream: bytes) -> str:
    events = [event for event in stream.split(b"\n\n") if event.startswith(b"data: {")]
    choices = [json.loads(event[6:])["choices"] for event in events]
    return "".join(choice[0]["delta"].get("content") or "" for choice in choices if choice)


async def until(holds: Any) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came to that")


async def _now(stream: Any) -> Any:
    return stream


async def read_until_error(client: Any) -> tuple[str, Any]:
    """The text that came, and the SDK's connection error if one did."""
    texts: list[str] = []
    try:
        if isinstance(client, openai.AsyncOpenAI):
            async for chunk in await client.chat.completions.create(
                model="m", messages=MESSAGES, stream=True
            ):
                texts += [choice.delta.content or "" for choice in chunk.choices]
        else:
            async with client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream:
                async for text in stream.text_stream:
                    texts.append(text)
    except (openai.APIConnectionError, anthropic.APIConnectionError) as error:
        return "".join(texts), error
    return "".join(texts), None
