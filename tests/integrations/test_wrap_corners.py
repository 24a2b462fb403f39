"""Wrapped clients where few look: classes of one's own, clients closed too early, what is no request at all."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import httpx
import httpx2
import openai
import pytest
from aiohttp import web
from loopback import PATIENCE, Watched

import resilient_llm as rl
from resilient_llm.testing import Answer, FaultServer, Stall, Status, serving

CHAT: Any = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def _at_once() -> Any:
    while True:
        yield 0.01


OPTIONS: Any = {"wait": _at_once, "jitter": None}


class Tagged(openai.OpenAI):
    """A client of somebody's own, made with other arguments than the SDK's."""

    def __init__(self, server: FaultServer, tag: str) -> None:
        super().__init__(base_url=server.base_url, api_key="k", max_retries=5)
        self.tag = tag

    def ask(self) -> str:
        return f"{self.tag}: {self.chat.completions.create(**CHAT).choices[0].message.content}"


def test_a_class_of_ones_own_is_wrapped_with_all_that_it_knows():
    """Attributes and methods, with parts of the API that were used before; the original stays as it was."""
    with serving(Answer(), Status.failed(), Answer(), reply="Hi") as server:
        bare = Tagged(server, "bare")
        assert bare.ask() == "bare: Hi"
        bare.tag = "later"
        with rl.wrap(bare, **OPTIONS) as client:
            assert type(client) is Tagged
            assert client.ask() == "later: Hi"
            assert (client.max_retries, bare.max_retries) == (0, 5)
            assert bare.chat.completions._client is bare
    assert len(server.requests) == 3


@pytest.mark.parametrize("strict", [True, False])
def test_answers_are_validated_as_strictly_as_before(strict):
    """What the SDK's own copies forget."""
    client = rl.wrap(openai.OpenAI(api_key="k", _strict_response_validation=strict))
    assert client._strict_response_validation is strict
    client.close()


async def test_large_bodies_are_sent_without_a_warning():
    """Pictures of megabytes, by wrapped clients and by ours, at the first attempt and at the next one."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2_000_000}}
    hello: Any = [{"role": "user", "content": [picture]}]
    async with FaultServer([Status.failed(), Answer()] * 2) as server:
        bare = openai.AsyncOpenAI(base_url=server.base_url, api_key="k")
        async with rl.wrap(bare, token_budget=None, **OPTIONS) as client:
            await client.chat.completions.create(model="m", messages=hello)
        ours = rl.OpenAICompatibleTransport(server.base_url, model="m")
        async with rl.AsyncClient(transport=ours, token_budget=None, **OPTIONS) as own:
            await own.complete(hello)
    assert [seen.body["messages"] == hello for seen in server.requests] == [True] * 4


# Closed too early ...


@pytest.mark.parametrize("recovery", ["raise", "replay"])
def test_a_sync_client_that_is_closed_breaks_its_streams_off(recovery):
    """What is read afterwards raises, as the bare client does; no stream ends as if it were complete."""
    with serving(Stall(after=1)) as server:
        client = rl.wrap(openai.OpenAI(base_url=server.base_url, api_key="k"), recovery=recovery, **OPTIONS)
        stream = client.chat.completions.create(**CHAT, stream=True)
        assert next(chunk for chunk in stream if chunk.choices[0].delta.content)
        client.close()
        with pytest.raises(openai.APIConnectionError) as caught:
            list(stream)
    assert not caught.value.llm_error.retryable
    assert len(server.requests) == 1


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_calls_of_other_threads_end_with_the_librarys_error(stream):
    """Whoever closes the client, each thread gets what it handles anyway."""
    stall = Watched(Stall(after=1) if stream else Stall())
    with serving(stall) as server, ThreadPoolExecutor(1) as threads:
        client = rl.wrap(openai.OpenAI(base_url=server.base_url, api_key="k"), **OPTIONS)

        def ask() -> None:
            answer = client.chat.completions.create(**CHAT, stream=stream)
            list(answer)

        call = threads.submit(ask)
        assert stall.begun.wait(PATIENCE)
        client.close()
        with pytest.raises(openai.APIConnectionError):
            call.result(PATIENCE)


async def test_a_client_that_is_closed_sends_nothing_any_more():
    """Neither the repetition of a stream that its closing broke, nor the retry that a call was waiting for."""

    def soon() -> Any:
        while True:
            yield 0.05

    async with FaultServer([Stall(after=1), Status.failed()]) as server:
        bare = openai.AsyncOpenAI(base_url=server.base_url, api_key="k")
        client = rl.wrap(bare, recovery="replay", wait=soon, jitter=None)
        stream = await client.chat.completions.create(**CHAT, stream=True)
        await anext(stream)
        call = asyncio.create_task(client.chat.completions.create(**CHAT))
        while len(server.requests) < 2:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.005)
        await client.close()
        with pytest.raises(openai.APIConnectionError):
            _ = [chunk async for chunk in stream]
        with pytest.raises(openai.APIConnectionError) as caught:
            await call
        assert "was closed" in str(caught.value.llm_error)
        assert len(server.requests) == 2
        sender = client._client._transport._sender
        assert not any(one._sessions._pools for one in sender._stand_ins.values())


# What is no request ...


def test_an_address_that_is_none_is_the_librarys_error():
    """No answer is made up for what never was a request: the bare client's exception, with ours on the SDK's."""
    with rl.wrap(httpx2.Client(), **OPTIONS) as client:
        for address in ("/x", "ftp://host/x"):
            with pytest.raises(httpx2.UnsupportedProtocol):
                client.get(address)
    sdk = rl.wrap(openai.OpenAI(base_url="localhost:1234/v1", api_key="k"), **OPTIONS)
    with sdk, pytest.raises(openai.APIConnectionError) as caught:
        sdk.chat.completions.create(**CHAT)
    assert caught.value.llm_error.code == "MODEL_INVALID_REQUEST"
    assert caught.value.llm_error.attempts == 1


async def test_a_header_that_is_none_is_the_librarys_error():
    """The same where the library refuses to write it."""
    async with FaultServer() as server, rl.wrap(httpx.AsyncClient(), **OPTIONS) as client:
        with pytest.raises(httpx.TransportError):
            await client.post(f"{server.base_url}/chat/completions", json=CHAT, headers={"a": "b\r\nc: d"})
        assert server.requests == []


def test_extensions_for_the_transport_are_the_transports():
    """What only the library's own transport understands is sent by it."""
    told: list[str] = []
    with serving() as server, rl.wrap(httpx.Client(), **OPTIONS) as client:
        address = f"{server.url}/nowhere"
        more: Any = {"target": b"/v1/chat/completions", "trace": lambda name, _: told.append(name)}
        assert client.post(address, json=CHAT, extensions=more).status_code == 200
        assert server.requests[0].path == "/v1/chat/completions"
    assert told


async def test_long_headers_are_no_error():
    """Policies and proxies write more into one than aiohttp takes by itself."""
    long = "x" * 20_000

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nx-policy: {long}\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/models"
    async with server, rl.wrap(httpx.AsyncClient(), **OPTIONS) as client:
        assert (await client.get(address)).headers["x-policy"] == long


# What others raise ...


class MineError(Exception):
    """An exception of the program's own."""


async def test_what_a_transport_of_ones_own_raises_reaches_its_client_as_it_was():
    """Once, whatever its words say, as without the stages."""
    seen: list[object] = []

    def mine(request: object) -> Any:
        seen.append(request)
        msg = "unauthorized: the rate limit is reached"
        raise MineError(msg)

    client = rl.wrap(httpx2.Client(transport=httpx2.MockTransport(mine)), **OPTIONS)
    with client, pytest.raises(MineError):
        client.post("http://host/v1/chat/completions", json=CHAT)
    bare = httpx2.AsyncClient(transport=httpx2.MockTransport(mine))
    async with rl.wrap(bare, **OPTIONS) as aclient, openai.AsyncOpenAI(api_key="k", http_client=bare) as own:
        with pytest.raises(MineError):
            await aclient.post("http://host/v1/files", content=b"x")
        sdk = rl.wrap(own, **OPTIONS)
        with pytest.raises(MineError):
            await sdk.chat.completions.create(**CHAT)
    assert len(seen) == 3


async def test_what_a_middleware_behind_ours_raises_reaches_the_session_as_it_was():
    """The same for aiohttp."""

    async def mine(*_: object) -> Any:
        raise MineError

    async with aiohttp.ClientSession(middlewares=[rl.ResilientMiddleware(**OPTIONS), mine]) as session:
        with pytest.raises(MineError):
            await session.get("http://host/v1/models")


async def test_a_total_timeout_ends_what_is_sent_once():
    """A session's own limit, on a call that nobody repeats: its error has one cause after the other, and no circle."""

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(9999):
            pass
        writer.close()
        await writer.wait_closed()
        left.set()

    left = asyncio.Event()
    silent = await asyncio.start_server(hear, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/v1/files"
    async with rl.wrap(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.1)), **OPTIONS) as session:
        with pytest.raises(aiohttp.ServerTimeoutError) as caught:
            await session.post(address, data=b"x")
    assert caught.value.llm_error.__cause__ is not caught.value.llm_error
    await left.wait()
    silent.close()


# Streams that only the answer tells of ...


def _gated() -> tuple[Any, threading.Event]:
    """A server's handler that writes an event, waits, and writes another one."""
    gate = threading.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for text in ("one", "two"):
            event = {"type": "transcript.text.delta", "delta": text}
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            await asyncio.to_thread(gate.wait, PATIENCE)
        return response

    return answer, gate


@pytest.mark.parametrize("transport", [None, httpx2.HTTPTransport], ids=["aiohttp", "own"])
async def test_a_stream_that_a_form_asked_for_comes_while_it_is_written(transport):
    """Nor does a GET say in its body that it wants a stream: the answer says so."""
    answer, gate = _gated()
    app = web.Application()
    app.router.add_post("/v1/audio/transcriptions", answer)
    app.router.add_get("/v1/responses/r", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()

    class Own(httpx2.HTTPTransport):
        """Nobody's but ours."""

    http = httpx2.Client(transport=Own()) if transport else None
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    client = rl.wrap(openai.OpenAI(base_url=address, api_key="k", http_client=http), **OPTIONS)

    def read(ask: Any) -> list[str]:
        gate.clear()
        stream = iter(ask())
        first = next(stream).delta
        gate.set()
        return [first, *(event.delta for event in stream)]

    transcriptions, responses = client.audio.transcriptions, client.responses
    spoken = await asyncio.to_thread(
        read, lambda: transcriptions.create(model="m", file=("a.mp3", b"a"), stream=True)
    )
    found = await asyncio.to_thread(read, lambda: responses.retrieve("r", stream=True))
    assert spoken == found == ["one", "two"]
    await asyncio.to_thread(client.close)
    await runner.cleanup()
