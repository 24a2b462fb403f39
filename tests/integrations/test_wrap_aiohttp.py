"""Sessions of aiohttp, wrapped or with a `ResilientMiddleware`."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

import resilient_llm as rl
from resilient_llm.testing import Answer, Cut, ErrorEvent, FaultServer, Reset, Stall, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHAT: Any = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
STREAM: Any = {**CHAT, "stream": True}


def _at_once() -> Any:
    while True:
        yield 0.01


@asynccontextmanager
async def session(
    server: FaultServer, *, options: Any = None, **more: Any
) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url, **more) as made:
        wrapped = rl.wrap(made, **{"wait": _at_once, "jitter": None, **(options or {})})
        assert wrapped is made
        yield wrapped


def post(
    client: aiohttp.ClientSession, body: Any = CHAT, path: str = "/v1/chat/completions", **more: Any
) -> Any:
    return client.post(path, json=body, **more)


def content_of(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


async def test_failures_are_retried():
    """A refusal and a reset are nobody's business but ours, nor is a stream that breaks before its content."""
    faults = (Status("overloaded"), Reset(), Answer(), Cut(after=0), Answer())
    async with FaultServer(faults) as server, session(server) as client:
        async with post(client) as answer:
            assert content_of(await answer.json()).endswith("Hello")
        async with post(client, STREAM) as answer:
            assert b"[DONE]" in await answer.read()
        assert len(server.requests) == 5


READERS: dict[str, Any] = {
    "read": lambda answer: answer.read(),
    "text": lambda answer: answer.text(),
    "lines": lambda answer: _all(answer.content),
    "any": lambda answer: _joined(answer.content.iter_any()),
    "chunked": lambda answer: _joined(answer.content.iter_chunked(7)),
    "exactly": lambda answer: answer.content.readexactly(20),
}


async def _all(items: Any) -> list[Any]:
    return [item async for item in items]


async def _joined(items: Any) -> bytes:
    return b"".join([item async for item in items])


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_bytes_are_those_of_a_bare_session(read, stream):
    """Whatever method reads it, an answer has the same status, headers and bytes."""
    pieces = [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in "abc"
    ]
    pieces[-1]["choices"][0]["finish_reason"] = "stop"

    async def answer(request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):
            message = {"role": "assistant", "content": "Hi"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({"choices": [choice], "unknown": True}, headers={"x-own": "1"})
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-own": "1"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(f": ping\n\ndata: {json.dumps(piece)}\n\n".encode())
            await asyncio.sleep(0.002)
        await response.write(b"data: [DONE]\n\n")
        await asyncio.sleep(0.02)  # the end of the body comes by itself
        return response

    async def ask(client: aiohttp.ClientSession) -> Any:
        async with post(client, STREAM if stream else CHAT) as got:
            return got.status, got.headers["x-own"], got.headers["content-type"], await read(got)

    async with serve(answer) as url, aiohttp.ClientSession(url) as bare:
        expected = await ask(bare)
        assert await ask(rl.wrap(bare)) == expected
        whole = read is not READERS["exactly"]
        assert len(bare.connector._conns) == (whole or not stream), "its one connection is back"


@asynccontextmanager
async def serve(answer: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    await runner.cleanup()


async def test_a_refusal_is_an_answer_of_aiohttp():
    """A status is what it was; our error is on the response, and on what `raise_for_status` raises."""
    options = {"max_retries": 1}
    fault = Status.rate_limited(retry_after=0.01)
    async with FaultServer(fault) as server, session(server, options=options) as client:
        async with post(client) as answer:
            assert (answer.status, answer.ok, answer.reason) == (429, False, "Too Many Requests")
            assert (await answer.json())["error"] == json.loads(await answer.content.read())["error"]
            assert answer.llm_error.code == rl.ErrorCode.MODEL_RATE_LIMITED
            assert "rate" in await answer.text()
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await post(client, raise_for_status=True)
        assert (caught.value.status, caught.value.llm_error.attempts) == (429, 2)


async def test_a_refusal_keeps_headers_that_are_no_text():
    """Bytes that are none, as a session without stages shows them."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 400 X\r\nconnection: close\r\nx-odd: \xff\xfe\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/files"
    seen = []
    async with server, aiohttp.ClientSession() as made:
        for client in (lambda: made, lambda: rl.wrap(made)):
            async with client().post(url, data=b"{}") as answer:
                seen.append((answer.status, answer.headers["x-odd"], dict(answer.raw_headers)[b"x-odd"]))
    assert seen[0] == seen[1]


async def test_an_open_circuit_is_a_503():
    """What is rejected here is an answer in the dialect, and nothing is sent."""
    options = {"max_retries": 0, "breaker": rl.CircuitBreaker(fail_max=1)}
    async with FaultServer(Status("overloaded")) as server, session(server, options=options) as client:
        for _ in range(2):
            async with post(client) as answer:
                assert answer.status == 503
        assert answer.headers["x-should-retry"] == "false"
        assert (await answer.json())["error"]["code"] == "CIRCUIT_OPEN"
        assert len(server.requests) == 1


async def test_a_deadline_is_a_timeout():
    """Asyncio's and aiohttp's, with our error on it."""
    options = {"deadline": 0.1}
    async with FaultServer(Stall()) as server, session(server, options=options) as client:
        with pytest.raises(aiohttp.ServerTimeoutError) as caught:
            await post(client)
    assert isinstance(caught.value, asyncio.TimeoutError)
    assert caught.value.llm_error.code == rl.ErrorCode.DEADLINE_EXCEEDED


async def test_the_sessions_own_total_ends_the_call():
    """It is for the call with all its attempts: none follows."""
    total = aiohttp.ClientTimeout(total=0.1)
    begun = time.monotonic()
    async with FaultServer(Stall()) as server, session(server, timeout=total) as client:
        with pytest.raises(TimeoutError):
            await post(client)
        assert len(server.requests) == 1
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_resets_end_after_our_retries(method):
    """The session does not go on where we gave up, wrapped or with the middleware alone."""
    met = []

    async def reset(request: web.Request) -> web.StreamResponse:
        met.append(request.method)
        request.transport.abort()
        return web.Response()

    options: Any = {"max_retries": 1, "wait": _at_once, "jitter": None}
    async with serve(reset) as url, aiohttp.ClientSession(url) as bare:
        alone = aiohttp.ClientSession(url, middlewares=[rl.ResilientMiddleware(**options)])
        async with alone:
            for client in (alone, rl.wrap(bare, **options)):
                met.clear()
                with pytest.raises(aiohttp.ClientConnectionError) as caught:
                    await client.request(method, "/v1/chat/completions", json=CHAT)
                assert (caught.value.llm_error.attempts, met) == (2, [method] * 2)


async def test_a_stream_that_breaks_raises_where_it_broke():
    """What came is handed over first; the error says what there was."""
    async with FaultServer(Cut(after=3)) as server, session(server) as client:
        lines = []
        async with post(client, STREAM) as answer:
            with pytest.raises(aiohttp.ClientError) as caught:
                lines.extend([line async for line in _kept(answer.content, lines)])
    assert any(b"content" in line for line in lines)
    assert caught.value.llm_error.partial.text


async def test_stages_of_ones_own_need_no_classifier():
    """A stream that says an error breaks as any other, where no stage classified it."""
    async with (
        FaultServer(ErrorEvent(after=2)) as server,
        aiohttp.ClientSession(server.url) as made,
        post(rl.wrap(made, middleware=[]), STREAM) as answer,
    ):
        with pytest.raises(aiohttp.ClientError) as caught:
            await answer.read()
    assert isinstance(caught.value.llm_error, rl.LLMError)


@pytest.mark.parametrize("leave", [False, True], ids=["read", "left"])
async def test_a_stream_is_replayed(leave):
    """With `recovery="replay"` its reader notices nothing; leaving it ends what goes on in its place."""
    options = {"recovery": "replay", "concurrency": 1}
    faults = (Answer(), Cut(after=3), Answer(interval=0.01), Answer())
    async with FaultServer(faults) as server, session(server, options=options) as client:
        async with post(client, STREAM) as answer:
            expected = text_of(await answer.read())
        async with post(client, STREAM) as answer:
            if leave:
                while len(server.requests) < 3:
                    await answer.content.readline()
            else:
                assert text_of(await answer.read()) == expected
        async with post(client) as answer:
            assert answer.status == 200
        assert len(server.requests) == 4


def text_of(data: bytes) -> str:
    events = [json.loads(line[6:]) for line in data.splitlines() if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


async def _kept(content: Any, lines: list[bytes]) -> AsyncIterator[bytes]:
    async for line in content:
        lines.append(line)
        yield line


@pytest.mark.parametrize("leave", ["release", "close"])
async def test_leaving_a_stream_early_settles_it(leave):
    """The circuit's probe, the permit and the connection are given back at once."""
    options = {"concurrency": 1}
    async with FaultServer(Answer(interval=0.02)) as server, session(server, options=options) as client:
        for _ in range(2):
            answer = await post(client, STREAM)
            await answer.content.readline()
            getattr(answer, leave)()
        assert client.connector._acquired == set()


async def test_a_body_that_can_be_sent_once_is_sent_once():
    """A generator is no plain bytes: it reaches the server, and nobody tries again."""

    async def body() -> AsyncIterator[bytes]:
        yield json.dumps(CHAT).encode()

    async with FaultServer(Status("overloaded")) as server, session(server) as client:
        async with client.post("/v1/chat/completions", data=body()) as answer:
            assert answer.status == 503
        assert len(server.requests) == 1


async def test_a_pruned_conversation_is_sent_pruned():
    """A stage's edit reaches the server; the next attempt has it, too."""
    messages = [{"role": "user", "content": "long " * 500}, {"role": "assistant", "content": "Yes"}]
    chat = {"model": "gpt-4o", "messages": [*messages, *CHAT["messages"]]}
    options = {"context_window": 100}
    async with FaultServer((Status("overloaded"), Answer())) as server:
        async with session(server, options=options) as client, post(client, chat) as answer:
            assert answer.status == 200
        assert [request.body["messages"] for request in server.requests] == [CHAT["messages"]] * 2


async def test_websockets_pass():
    """An upgrade is no call of a model: no stage sees it."""
    seen = []

    async def stage(request: Any, call_next: Any) -> Any:
        seen.append(request)
        return await call_next(request)

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("Hi")
        await socket.close()
        return socket

    async with (
        serve(echo) as url,
        aiohttp.ClientSession(url) as bare,
        rl.wrap(bare, middleware=[stage]).ws_connect("/socket") as socket,
    ):
        assert await socket.receive_str() == "Hi"
    assert seen == []


async def test_middlewares_of_ones_own_stay():
    """They act before ours: once for each call."""
    seen = []

    async def own(request: Any, handler: Any) -> Any:
        seen.append(request.method)
        request.headers["x-own"] = "1"
        return await handler(request)

    async with (
        FaultServer((Status("overloaded"), Answer())) as server,
        session(server, middlewares=[own]) as client,
        post(client) as answer,
    ):
        assert answer.status == 200
    assert seen == ["POST"]
    assert [request.headers["x-own"] for request in server.requests] == ["1", "1"]


async def test_wrapping_twice_warns_and_a_closed_session_says_so():
    """The same session is returned, with one middleware."""
    async with aiohttp.ClientSession() as client:
        rl.wrap(client)
        with pytest.warns(UserWarning, match="wrapped already"):
            assert rl.wrap(client) is client
        assert len(client._middlewares) == 1
    async with aiohttp.ClientSession() as client:
        pass
    with pytest.raises(RuntimeError, match="is closed"):
        rl.wrap(client)
