"""Clients of httpx and httpx2, wrapped or on a `ResilientTransport`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import httpx
import httpx2
import pytest
from aiohttp import web

import resilient_llm as rl
from resilient_llm.integrations import http_backend
from resilient_llm.testing import Answer, Cut, FaultServer, Reset, Stall, Status
from resilient_llm.transports import reading

CHAT: Any = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def _at_once() -> Any:
    while True:
        yield 0.01


SOON: Any = {"wait": _at_once, "jitter": None}


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def module(request: pytest.FixtureRequest) -> Any:
    return request.param


def alone(module: Any, server: FaultServer, **options: Any) -> Any:
    """A client with our transport; as its user would make it."""
    transport = rl.ResilientTransport(**{**SOON, **options})
    return module.AsyncClient(base_url=server.base_url, transport=transport, timeout=60)


async def test_failures_are_retried(module):
    """A refusal and a reset are nobody's business but ours."""
    server = FaultServer([Status("overloaded"), Reset(), Answer()], reply="Hi")
    async with server, alone(module, server) as client:
        answer = await client.post("/chat/completions", json=CHAT)
    assert answer.json()["choices"][0]["message"]["content"] == "Hi"
    assert len(server.requests) == 3


async def test_a_refusal_is_an_answer(module):
    """A status is what it was, with our error among its extensions, and on what `raise_for_status` raises."""
    async with FaultServer(Status("rate_limited")) as server, alone(module, server, max_retries=0) as client:
        answer = await client.post("/chat/completions", json=CHAT)
    assert (answer.status_code, answer.is_success) == (429, False)
    assert answer.extensions["llm_error"].code == rl.ErrorCode.MODEL_RATE_LIMITED
    with pytest.raises(module.HTTPStatusError) as caught:
        answer.raise_for_status()
    assert caught.value.llm_error is answer.extensions["llm_error"]


async def test_no_answer_is_the_librarys_exception(module, unused_tcp_port):
    """Where nothing listens the library's own exception is raised, the last one of several."""
    transport = rl.ResilientTransport(max_retries=1, **SOON)
    async with module.AsyncClient(transport=transport) as client:
        with pytest.raises(module.ConnectError) as caught:
            await client.post(f"http://127.0.0.1:{unused_tcp_port}/v1/chat/completions", json=CHAT)
    assert caught.value.llm_error.attempts == 2


async def test_stages_of_ones_own_need_no_classifier(module, unused_tcp_port):
    """No connection, a refusal, a stream that breaks: as ever the library's own; a stage's own mistake stays itself."""

    async def careless(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        if request.model == "broken":
            raise LookupError(request.model)
        return await call_next(request)

    body = {**CHAT, "stream": True}
    async with (
        FaultServer([Status.failed(), Cut(after=2), Cut(after=2)]) as server,
        module.AsyncClient(
            base_url=server.base_url, transport=rl.ResilientTransport(middleware=[careless])
        ) as client,
    ):
        with pytest.raises(module.ConnectError) as refused:
            await client.post(f"http://127.0.0.1:{unused_tcp_port}/v1/chat/completions", json=CHAT)
        with pytest.raises(LookupError):
            await client.post("/chat/completions", json={**CHAT, "model": "broken"})
        failed = await client.post("/chat/completions", json=CHAT)
        with pytest.raises(module.TransportError) as cut:
            await client.post("/chat/completions", json=body)
        with pytest.raises(module.TransportError):
            await asyncio.to_thread(_post_blocking, module, server.base_url, careless, body)
    assert failed.status_code == 500
    errors = [failed.extensions["llm_error"], refused.value.llm_error, cut.value.llm_error]
    assert [error.code for error in errors] == [
        rl.ErrorCode.MODEL_UNAVAILABLE,
        rl.ErrorCode.MODEL_UNAVAILABLE,
        rl.ErrorCode.MODEL_RESPONSE_INVALID,
    ]


def _post_blocking(module: Any, url: str, stage: Any, body: Any) -> None:
    with module.Client(base_url=url, transport=rl.ResilientTransport(middleware=[stage])) as client:
        client.post("/chat/completions", json=body)


@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
@pytest.mark.parametrize("own", [False, True], ids=["by aiohttp", "by its own transport"])
async def test_the_body_of_an_error_is_not_waited_for_long(module, server, monkeypatch, own, blocking):
    """A refusal that does not end is retried once its status and a moment's worth of its body are there."""
    monkeypatch.setattr(http_backend, "ERROR_BODY_SECONDS", 0.2)

    async def endless(request: web.Request) -> web.StreamResponse:
        refused = web.StreamResponse(status=503, headers={"content-length": "100"})
        await refused.prepare(request)
        await refused.write(b'{"error":')
        await asyncio.sleep(60)
        return refused

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]})

    server.scripts = [endless, answer]
    client, transport = (
        (module.Client, module.HTTPTransport) if blocking else (module.AsyncClient, module.AsyncHTTPTransport)
    )
    below = type("Own", (transport,), {})() if own else None
    wrapped = rl.wrap(client(base_url=server.url, timeout=60, transport=below), **SOON)
    async with asyncio.timeout(10):
        post = partial(wrapped.post, "/chat/completions", json=CHAT)
        assert (await asyncio.to_thread(post) if blocking else await post()).status_code == 200
        await (asyncio.to_thread(wrapped.close) if blocking else wrapped.aclose())
    await asyncio.wait_for(server.left.wait(), 10)


async def test_a_limit_is_the_librarys_timeout(module):
    """A limit of ours, and one of the client's own, is the library's read timeout."""
    async with FaultServer(Stall()) as server:
        for options, timeout in (({"attempt_timeout": 0.2}, None), ({}, 0.2)):
            async with alone(module, server, max_retries=0, **options) as client:
                with pytest.raises(module.ReadTimeout) as caught:
                    await client.post("/chat/completions", json=CHAT, timeout=timeout)
            assert caught.value.llm_error.code == rl.ErrorCode.MODEL_TIMEOUT


async def test_hosts_do_not_share_a_circuit(module):
    """What one host does wrong is not held against another with the same model."""
    bad, good = FaultServer(Status("overloaded")), FaultServer()
    async with bad, good, alone(module, bad, max_retries=0) as client:
        for _ in range(6):
            last = await client.post("/chat/completions", json=CHAT)
        assert last.extensions["llm_error"].code == rl.ErrorCode.CIRCUIT_OPEN
        answer = await client.post(f"{good.base_url}/chat/completions", json=CHAT)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "sent"),
    [
        ("GET", "/files/1", {}, 3),
        ("DELETE", "/files/1", {}, 3),
        ("POST", "/files", {}, 1),
        ("POST", "/files", {"Idempotency-Key": "k"}, 3),
        ("POST", "/moderations", {}, 3),
    ],
)
async def test_what_nobody_knows_is_repeated_where_that_is_safe(module, method, path, headers, sent):
    """By its method, its key, or what it is for."""
    seen: list[str] = []

    async def answer(request: Any) -> Any:
        seen.append(request.url.path)
        return module.Response(503, text="busy")

    transport = rl.ResilientTransport(module.MockTransport(answer), max_retries=2, **SOON)
    async with module.AsyncClient(transport=transport, base_url="http://host/v1") as client:
        last = await client.request(method, path, headers=headers, json={"a": 1})
    assert (last.status_code, last.text, len(seen)) == (503, "busy", sent)


async def test_a_post_that_was_never_sent_is_repeated(module):
    """No connection, no effect: then it is safe."""
    seen: list[str] = []

    async def answer(request: Any) -> Any:
        seen.append(request.url.path)
        if len(seen) < 3:
            msg = "refused"
            raise module.ConnectError(msg, request=request)
        return module.Response(200, text="done")

    transport = rl.ResilientTransport(module.MockTransport(answer), **SOON)
    async with module.AsyncClient(transport=transport) as client:
        assert (await client.post("http://host/v1/files", json={})).text == "done"


async def test_a_wrapped_client_and_its_original_share_their_cookies(module):
    """Whichever gets one, both send it; a jar of one's own is asked as ever."""

    def answer(request: Any) -> Any:
        headers = {"set-cookie": "a=b"} if request.url.path == "/login" else {}
        return module.Response(200, headers=headers, json={"cookie": request.headers.get("cookie")})

    class Mine(module.Cookies):
        asked = 0

        def extract_cookies(self, response: Any) -> None:
            self.asked += 1
            super().extract_cookies(response)

    async with module.AsyncClient(transport=module.MockTransport(answer)) as original:
        wrapped = rl.wrap(original)
        for logged_in, other in ((original, wrapped), (wrapped, original)):
            original.cookies.clear()
            await logged_in.get("http://host/login")
            assert (await other.get("http://host/")).json() == {"cookie": "a=b"}
            assert isinstance(other.cookies, module.Cookies)
        original._cookies = Mine()
        own = rl.wrap(original)
        await own.get("http://host/")
        assert own.cookies.asked == 1


async def test_redirects_cookies_and_hooks_stay_the_clients(module):
    """What a client does above its transport it goes on doing."""
    hooked: list[int] = []

    async def hook(response: Any) -> None:
        hooked.append(response.status_code)

    async def answer(request: Any) -> Any:
        if request.url.path == "/old":
            return module.Response(307, headers={"location": "/new", "set-cookie": "a=b"})
        return module.Response(200, json={"cookie": request.headers.get("cookie")})

    bare = module.AsyncClient(
        transport=module.MockTransport(answer), follow_redirects=True, event_hooks={"response": [hook]}
    )
    async with rl.wrap(bare) as client:
        assert type(client) is type(bare)
        assert (await client.get("http://host/old")).json() == {"cookie": "a=b"}
    assert hooked == [307, 200]
    assert bare.is_closed


async def test_mounts_are_used(module):
    """A mounted transport sends what is for it."""

    def says(text: str) -> Any:
        return module.MockTransport(lambda _: module.Response(200, text=text))

    bare = module.AsyncClient(transport=says("default"), mounts={"http://other": says("mounted")})
    async with rl.wrap(bare) as client:
        assert [(await client.get(f"http://{host}/")).text for host in ("one", "other")] == [
            "default",
            "mounted",
        ]


async def test_pings_are_handed_on_when_they_come(module):
    """Bytes without a visible event do not wait for the next one, and do not feed the idle limit."""
    slept = 0.02

    class Slow(module.AsyncByteStream):  # type: ignore[name-defined,misc]
        async def __aiter__(self):
            yield b'data: {"choices":[{"delta":{"content":"One"}}]}\n\n'
            while True:
                yield b": ping\n\n"
                await asyncio.sleep(slept)

    async def answer(_: Any) -> Any:
        return module.Response(200, headers={"content-type": "text/event-stream"}, stream=Slow())

    transport = rl.ResilientTransport(module.MockTransport(answer), idle_timeout=0.3)
    got: list[bytes] = []

    async def read(client: Any) -> None:
        body = {**CHAT, "stream": True}
        async with client.stream("POST", "http://host/v1/chat/completions", json=body) as response:
            async for piece in response.aiter_bytes():
                got.append(piece)  # noqa: PERF401 - what came before the failure counts

    async with module.AsyncClient(transport=transport, timeout=None) as client:
        with pytest.raises(module.ReadTimeout):
            await read(client)
    assert got.count(b": ping\n\n") > 3


async def test_pings_after_the_finish_reason_do_not_hold_up_the_end(module, monkeypatch):
    """A server that neither marks the end nor falls silent has answered all the same."""
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0.2)

    class Chatty(module.AsyncByteStream):  # type: ignore[name-defined,misc]
        async def __aiter__(self):
            yield b'data: {"choices":[{"delta":{"content":"One"}}]}\n\n'
            yield b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
            while True:
                yield b": ping\n\n"
                await asyncio.sleep(0.02)

    async def answer(_: Any) -> Any:
        return module.Response(200, headers={"content-type": "text/event-stream"}, stream=Chatty())

    transport = rl.ResilientTransport(module.MockTransport(answer), idle_timeout=3)
    body = {**CHAT, "stream": True}
    async with (
        module.AsyncClient(transport=transport, timeout=None) as client,
        client.stream("POST", "http://host/v1/chat/completions", json=body) as response,
    ):
        pieces = [piece async for piece in response.aiter_bytes()]
    assert b'"stop"' in pieces[1]
    assert pieces[2:].count(b": ping\n\n") == len(pieces) - 2


async def test_calls_cancelled_at_random_leak_nothing(module):
    """No task and no open answer is left when many calls are cancelled wherever they are."""
    async with FaultServer(reply="One two three four") as server, alone(module, server) as client:
        before = asyncio.all_tasks()

        async def call(number: int) -> None:
            async with client.stream(
                "POST", "/chat/completions", json={**CHAT, "stream": number % 2 == 0}
            ) as response:
                await response.aread()

        tasks = [asyncio.create_task(call(number)) for number in range(200)]
        for number, task in enumerate(tasks):
            await asyncio.sleep(0)
            if number % 3:
                asyncio.get_running_loop().call_later(number % 17 / 100, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        backend = client._transport._backend
        await backend.aclose()
        assert not backend._bodies.open
        left = asyncio.all_tasks() - before
        assert not [task for task in left if "_let_go" in repr(task)]
