"""When aiohttp sends in place of a client's transport, and that nobody notices."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
import ssl
import weakref
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
from aiohttp import web

import resilient_llm as rl
from resilient_llm.integrations import aiohttp_sender
from resilient_llm.integrations.aiohttp_sender import AiohttpSender, is_untouched
from resilient_llm.integrations.httpx_family import family_of
from resilient_llm.testing import Answer, FaultServer

OPTIONS = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def module(request: pytest.FixtureRequest) -> Any:
    return request.param


def stands_in(module: Any, transport: Any) -> bool:
    return is_untouched(transport, family_of(module.Request("GET", "http://host")))


async def test_only_an_untouched_transport_has_a_stand_in(module):
    """The library's own, with whatever certificates and limits; none with a proxy, or a socket of one's own."""
    own = module.AsyncHTTPTransport

    class Mine(own):
        pass

    assert stands_in(module, own())
    assert stands_in(
        module, own(verify=ssl.create_default_context(), limits=module.Limits(max_connections=3))
    )
    assert stands_in(module, own(socket_options=OPTIONS))
    for other in (
        own(proxy="http://proxy:1"),
        own(uds="/tmp/x"),  # noqa: S108 - nothing is there
        own(local_address="127.0.0.1"),
        own(retries=2),
        Mine(),
        module.MockTransport(lambda _: None),
    ):
        assert not stands_in(module, other)


async def test_a_transport_that_is_replaced_leaves_its_stand_in_to_nobody(module):
    """Who sends by another transport has that one's certificates and limits, whatever became of the one before."""
    async with FaultServer() as server:
        ours = rl.ResilientTransport(module.AsyncHTTPTransport())
        async with module.AsyncClient(transport=ours, base_url=server.base_url) as client:
            for _ in range(3):
                assert (await client.get("/models")).status_code == 200
                await ours.transport.aclose()
                before, ours.transport = weakref.ref(ours.transport), None
                gc.collect()
                assert before() is not None, "another one could take its place in memory, and in the table"
                ours.transport = module.AsyncHTTPTransport()


async def test_a_patched_transport_is_used(module, monkeypatch):
    """Libraries that mock or trace HTTP patch the transport's class: they go on seeing every request."""
    seen: list[str] = []

    async def patched(_: Any, request: Any) -> Any:
        seen.append(str(request.url))
        return module.Response(200, text="mocked")

    monkeypatch.setattr(module.AsyncHTTPTransport, "handle_async_request", patched)
    async with rl.wrap(module.AsyncClient()) as client:
        assert (await client.get("http://nowhere.invalid/")).text == "mocked"
    assert seen == ["http://nowhere.invalid/"]


async def test_certificates_socket_options_and_limits_are_taken_over(module):
    """The stand-in connects as the transport would have."""
    context = ssl.create_default_context()
    transport = module.AsyncHTTPTransport(
        verify=context, limits=module.Limits(max_connections=3, keepalive_expiry=7), socket_options=OPTIONS
    )
    sender = AiohttpSender(transport)
    connector: Any = sender._sessions._make_connector()
    assert (connector._ssl, connector.limit, connector._keepalive_timeout) == (context, 3, 7)
    made = connector._socket_factory((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0)))
    assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    made.close()
    await connector.close()


async def test_requests_and_answers_are_those_of_the_transport(module):
    """Equal headers arrive, a compressed answer comes back as text, and cookies of an answer stay apart."""
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        response = web.Response(
            body=gzip.compress(b"hello"), headers={"content-encoding": "gzip", "content-type": "text/plain"}
        )
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/a%20b?c=%2F"  # type: ignore[union-attr]
    bare = module.AsyncClient(headers={"x-mine": "ü".encode()})
    async with rl.wrap(bare) as wrapped:
        one, two = await bare.post(url, json={}), await wrapped.post(url, json={})
        bare.cookies.clear()
    await runner.cleanup()
    assert one.text == two.text == "hello"
    assert dict(one.cookies) == dict(two.cookies) == {"a": "1", "b": "2"}
    seen[1].pop("Cookie", None)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("options", [{}, {"middleware": []}], ids=["stages", "none"])
async def test_an_answer_that_is_being_read_outlives_its_client(module, options):
    """As in the libraries: a client that is dropped takes no answer from its reader, and is closed without a word."""
    async with FaultServer(Answer(interval=0.02), reply="One two three four.") as server:
        client = rl.wrap(module.AsyncClient(), **options)
        asked = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
        request = client.build_request("POST", f"{server.base_url}/chat/completions", json=asked)
        answer = await client.send(request, stream=True)
        del client
        gc.collect()
        await asyncio.sleep(0.01)
        read = b"".join([piece async for piece in answer.aiter_bytes()])
        assert read.endswith(b"[DONE]\n\n")
        del answer
        gc.collect()
        for _ in range(500):
            if not server.open_connections:
                break
            await asyncio.sleep(0.01)
        assert not server.open_connections
        assert not aiohttp_sender._closings


@pytest.mark.parametrize("kind", ["httpx", "httpx2", "aiohttp"])
async def test_no_error_shows_the_key_or_what_came_in_place_of_http(kind):
    """Neither in its text nor in its repr, nor does any that it was caused by."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"the answer to it all\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat/completions"
    kinds = {"httpx": httpx.AsyncClient, "httpx2": httpx2.AsyncClient, "aiohttp": aiohttp.ClientSession}
    bare = kinds[kind](headers={"authorization": "Bearer sk-verysecret"})
    async with server, rl.wrap(bare, max_retries=0) as client:
        with pytest.raises((httpx.HTTPError, httpx2.HTTPError, aiohttp.ClientError)) as caught:
            await client.post(url, json={"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    assert caught.value.llm_error.code == rl.ErrorCode.MODEL_UNAVAILABLE
    chain: list[BaseException | None] = [caught.value, caught.value.llm_error]
    for error in chain:
        if error is not None and error.__cause__ not in chain:
            chain.append(error.__cause__)
    shown = " ".join(f"{error} {error!r}" for error in chain)
    assert "verysecret" not in shown
    assert "answer to it all" not in shown


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
async def test_headers_that_are_no_ascii_arrive(module, status, blocking):
    """A name in UTF-8, bytes that are no text at all: as the client without stages shows them."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        head = b"HTTP/1.1 %d X\r\nconnection: close\r\ncontent-length: 2\r\n" % status
        writer.write(head + "openai-organization: Möbel\r\n".encode() + b"x-odd: \xff\xfe\r\n\r\n{}")
        writer.close()

    def ask(client: Any) -> Any:
        return client.post(url, content=b"{}")

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/files"
    async with server:
        if blocking:
            bare = await asyncio.to_thread(ask, client := module.Client())
            told = await asyncio.to_thread(ask, wrapped := rl.wrap(client))
            await asyncio.to_thread(wrapped.close)
        else:
            async with rl.wrap(client := module.AsyncClient()) as wrapped:
                bare, told = await ask(client), await ask(wrapped)
    assert told.status_code == status
    for name in ("openai-organization", "x-odd"):
        assert told.headers[name] == bare.headers[name]
