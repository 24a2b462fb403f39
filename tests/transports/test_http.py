"""What goes out: headers, keys, queries; and what comes back as a failure."""

from __future__ import annotations

import asyncio
import gzip
import socket
import traceback

import aiohttp
import attrs
import pytest
from transports.answers import CHAT, STREAM, answer

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError, ModelUnavailableError
from resilient_llm.transports import LMStudioTransport, OpenAICompatibleTransport, reading

KEY = "sk-secret-0123456789"


async def fine(_request, wire):
    await wire.answer(answer())


def refusing(status, body=b"", headers=""):
    async def script(_request, wire):
        await wire.answer(body, status=status, headers=headers)

    return script


async def test_options_of_the_transport_and_of_the_call_are_merged(serve, connect):
    """Headers and query of a call are added to those of the transport and win over them."""
    server = await serve(fine)
    transport = connect(server, headers={"X-A": "1", "X-B": "1"}, query={"a": "1", "b": "1"})
    own = {"headers": {"x-b": "2", "X-C": "2"}, "query": {"b": "2"}, "body": {"top_k": 5}}
    await transport(attrs.evolve(CHAT, extensions=own))
    await transport(CHAT)
    first, second = server.requests
    assert [first.headers[name] for name in ("x-a", "x-b", "x-c")] == ["1", "2", "2"]
    assert first.target == "/v1/chat/completions?a=1&b=2"
    assert first.json["top_k"] == 5
    assert second.headers["x-b"] == "1"
    assert "x-c" not in second.headers
    assert second.target == "/v1/chat/completions?a=1&b=1"


async def test_every_request_says_what_it_sends(serve, connect):
    """The body is JSON with a length, and the sender names itself."""
    server = await serve(fine)
    await connect(server)(CHAT)
    headers = server.requests[0].headers
    assert headers["content-type"] == "application/json"
    assert int(headers["content-length"]) == len(server.requests[0].body)
    assert headers["user-agent"].startswith("resilient-llm")
    assert "authorization" not in headers


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_a_function_is_asked_for_the_key_before_each_attempt(serve, connect, asynchronous):
    """A key that is renewed between two attempts is used at the second."""
    keys = iter(["one", "two"])

    async def fetch():
        await asyncio.sleep(0)
        return next(keys)

    server = await serve(fine)
    transport = connect(server, api_key=fetch if asynchronous else lambda: next(keys))
    await transport(CHAT)
    await transport(CHAT)
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer one", "Bearer two"]


async def test_the_key_is_never_shown(serve, connect):
    """Neither a repr, nor a failure that quotes the key, nor a broken answer's traceback shows it."""

    async def script(request, wire):
        if "stream" in request.target:
            await wire.send(b"no HTTP at all\r\n\r\n")
        else:
            await wire.answer({"error": f"wrong key {KEY}"}, status=401)

    transport = connect(await serve(script), api_key=KEY)
    with pytest.raises(BackendFailure) as refused:
        await transport(CHAT)
    with pytest.raises(ModelUnavailableError) as broken:
        await transport(attrs.evolve(CHAT, extensions={"query": {"stream": "1"}}))
    shown = [repr(transport), refused.value.body, repr(refused.value)]
    error = broken.value
    shown += traceback.format_exception(error)
    while error is not None:
        shown.append(repr(error))
        error = error.__cause__ or error.__context__
    assert not [text for text in shown if KEY in text]
    assert "wrong key ****" in refused.value.body


async def test_a_refusal_carries_status_headers_and_body(serve, connect):
    """Anything but 2xx is a failure with the facts that the classifier needs, and the connection is reused."""
    server = await serve(refusing(429, {"error": "slow down"}, "Retry-After: 7\r\n"))
    transport = connect(server)
    for request in (CHAT, STREAM):
        with pytest.raises(BackendFailure) as caught:
            await transport(request)
        assert caught.value.status == 429
        assert caught.value.headers["retry-after"] == "7"
        assert "slow down" in caught.value.body
    assert server.connections == 1


async def test_redirects_are_not_followed(serve, connect):
    """A redirect is a failure; the other host never sees the key."""
    other = await serve(fine)
    server = await serve(refusing(307, headers=f"Location: {other.url}/v1/chat/completions\r\n"))
    with pytest.raises(BackendFailure) as caught:
        await connect(server, api_key=KEY)(CHAT)
    assert caught.value.status == 307
    assert not other.requests


@pytest.mark.parametrize("sent", [b"Content-Length: 99999\r\n\r\n", b"\r\n" + b"x" * 1001])
async def test_a_body_beyond_the_limit_is_refused(serve, connect, sent):
    """A body that would fill the memory is given up at the limit, or as soon as it is announced."""

    async def script(_request, wire):
        await wire.send(b"HTTP/1.1 200 OK\r\n" + sent)
        await wire.gone()

    server = await serve(script)
    with pytest.raises(ModelResponseInvalidError, match="longer than 1000 bytes"):
        await asyncio.wait_for(connect(server, max_answer_bytes=1000)(CHAT), 5)
    await server.all_closed()


@pytest.mark.parametrize("value", [b"{},", b"0,"], ids=["objects", "numbers"])
async def test_a_body_of_too_many_values_is_refused(serve, connect, monkeypatch, value):
    """What is short enough as text may still be too much as objects."""
    monkeypatch.setattr(reading, "MAX_CONTAINERS", 1000)
    monkeypatch.setattr(reading, "MAX_VALUES", 1000)
    server = await serve(refusing(200, b'{"choices": [' + value * 1001 + b"0]}"))
    with pytest.raises(ModelResponseInvalidError, match="more than 1000 values"):
        await connect(server)(CHAT)


async def test_a_decompression_bomb_is_refused(serve, connect):
    """The limit counts what comes out of the decompressor."""
    bomb = gzip.compress(b"0" * 50_000_000)
    server = await serve(refusing(200, bomb, "Content-Encoding: gzip\r\n"))
    with pytest.raises(ModelResponseInvalidError):
        await connect(server, max_answer_bytes=1_000_000)(CHAT)


async def test_of_an_error_only_the_beginning_is_read(serve, connect):
    """An endless error page costs 64 KiB."""

    async def script(_request, wire):
        await wire.send(b"HTTP/1.1 502 X\r\nContent-Length: 999999999\r\n\r\n")
        while True:
            await wire.send(b"<p>" * 5000)

    with pytest.raises(BackendFailure) as caught:
        await connect(await serve(script))(CHAT)
    assert len(caught.value.body) == reading.MAX_ERROR_BYTES


@pytest.mark.parametrize("then", ["hang", "reset"])
async def test_an_error_whose_body_does_not_come_is_an_error_all_the_same(serve, connect, monkeypatch, then):
    """The status says enough; nobody waits for the rest for long."""
    monkeypatch.setattr(reading, "ERROR_BODY_SECONDS", 0.05)

    async def script(_request, wire):
        await wire.send(b"HTTP/1.1 503 X\r\nContent-Length: 999\r\n\r\nbusy")
        if then == "reset":
            await asyncio.sleep(0.01)
            wire.reset()
        await wire.gone()

    with pytest.raises(BackendFailure) as caught:
        await connect(await serve(script))(CHAT)
    assert (caught.value.status, caught.value.body) == (503, "busy")


async def test_a_cut_body_raises_what_aiohttp_raises(serve, connect):
    """A body shorter than promised is for the classifier to judge."""

    async def script(_request, wire):
        await wire.send(b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"choi')
        wire.writer.close()

    with pytest.raises(aiohttp.ClientPayloadError):
        await connect(await serve(script))(CHAT)


async def test_a_reset_before_the_answer_raises_what_aiohttp_raises(serve, connect):
    """A connection reset before the head is for the classifier to judge; the request is not sent twice."""

    async def script(_request, wire):
        wire.reset()

    server = await serve(script)
    with pytest.raises(aiohttp.ClientError):
        await connect(server)(CHAT)
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices": []}', b'{"choices"'])
async def test_garbage_with_status_200_is_no_answer(serve, connect, body):
    """Whatever a proxy or a crashed engine sends instead of an answer."""
    with pytest.raises(ModelResponseInvalidError):
        await connect(await serve(refusing(200, body)))(CHAT)


async def test_an_error_with_status_200_keeps_the_headers(serve, connect):
    """The classifier sees Retry-After also where the status says that all is well."""
    server = await serve(refusing(200, {"error": "busy"}, "Retry-After: 3\r\n"))
    with pytest.raises(BackendFailure) as caught:
        await connect(server)(CHAT)
    assert caught.value.headers["retry-after"] == "3"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_missing_server_is_named_with_the_way_to_start_it(host):
    """Nothing listens: the message says where, and what to start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    transport = LMStudioTransport(f"http://{host}:{port}", model="m")
    with pytest.raises(ModelUnavailableError) as caught:
        await transport(CHAT)
    assert f"no LM Studio server at http://{host}:{port} (start it with: lms server start)" in str(
        caught.value
    )
    assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorError)
    await transport.aclose()


@pytest.mark.parametrize("proxied", [False, True], ids=["no such host", "no such proxy"])
async def test_other_ways_not_to_connect_are_left_to_the_classifier(monkeypatch, proxied):
    """Starting a server helps neither against a wrong name nor against a missing proxy."""
    if proxied:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    transport = OpenAICompatibleTransport("http://nowhere.invalid")
    kind = aiohttp.ClientProxyConnectionError if proxied else aiohttp.ClientConnectorDNSError
    with pytest.raises(kind):
        await transport(CHAT)
    await transport.aclose()


async def test_a_function_without_a_key_sends_none(serve, connect):
    """An empty answer means that no key is needed now."""
    server = await serve(fine)
    await connect(server, api_key=lambda: "")(CHAT)
    assert "authorization" not in server.requests[0].headers


async def test_user_and_password_of_the_url_become_a_header(serve):
    """Basic authentication works, and nothing shows the password."""
    server = await serve(fine)
    transport = OpenAICompatibleTransport(server.url.replace("://", "://me:pass%20word@"))
    await transport(CHAT)
    assert server.requests[0].headers["authorization"] == aiohttp.encode_basic_auth("me", "pass word")
    assert "pass" not in repr(transport) + transport.base_url
    await transport.aclose()


async def test_a_proxy_of_the_environment_is_used(serve, monkeypatch):
    """A request for another machine goes to the proxy, with the proxy's own credentials."""
    proxy = await serve(fine)
    monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", "://me:pw@"))
    transport = OpenAICompatibleTransport("http://llm.example")
    await transport(CHAT)
    assert proxy.requests[0].target == "http://llm.example/v1/chat/completions"
    assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")
    await transport.aclose()
