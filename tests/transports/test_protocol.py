"""Answers that break HTTP itself: told at once, typed, and never quoted."""

from __future__ import annotations

import asyncio
import traceback
from functools import partial

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from transports.answers import CHAT, STREAM, answer, delta, stop

from resilient_llm.errors import ModelUnavailableError
from resilient_llm.events import TextDelta
from resilient_llm.transports import OpenAICompatibleTransport, protocol

SECRET = b"the model's answer"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("request_", [CHAT, STREAM], ids=["whole", "stream"])
async def test_a_body_whose_framing_breaks_is_told_at_once(serve, connect, request_):
    """A chunk longer than it said ends the call, though the connection does not break under the reader."""

    async def script(_request, wire):
        await wire.send(CHUNKED + b"6\r\ndata: ")
        await asyncio.sleep(0.02)
        await wire.send(SECRET)
        await wire.gone()

    async with asyncio.timeout(2):
        with pytest.raises(aiohttp.ClientPayloadError, match="framing") as caught:
            await connect(await serve(script))(request_)
    assert SECRET.decode() not in "".join(traceback.format_exception(caught.value))


async def test_what_came_before_the_break_is_handed_over(serve, connect):
    """Text, and then the failure."""

    async def script(_request, wire):
        await wire.stream(delta("a"), done=False)
        await asyncio.sleep(0.02)
        await wire.send(b"no chunk size\r\n")
        await wire.gone()

    async with asyncio.timeout(2), await connect(await serve(script))(STREAM) as response:
        assert await anext(response) == TextDelta("a")
        with pytest.raises(aiohttp.ClientPayloadError):
            await anext(response)


async def test_a_break_after_the_finish_reason_does_no_harm(serve, connect):
    """The answer is complete without what follows it."""

    async def script(_request, wire):
        await wire.stream(delta("a"), stop(), done=False)
        await asyncio.sleep(0.02)
        await wire.send(b"no chunk size\r\n")
        await wire.gone()

    async with asyncio.timeout(1.5), await connect(await serve(script))(STREAM) as response:
        assert (await response.completion()).text == "a"


async def test_garbage_after_a_whole_body_does_no_harm(serve, connect):
    """What comes behind the end ends the connection, not the answer that nobody has read yet."""

    async def script(_request, wire):
        await wire.answer(answer())
        await asyncio.sleep(0.02)
        await wire.send(b"no HTTP at all\r\n\r\n")
        await wire.gone()

    server = await serve(script)
    transport = connect(server)
    response, _ = await transport.send("POST", transport._chat_url, b"{}")
    await server.all_closed()
    assert b"Rhine" in await response.read()


async def test_some_informational_answers_come_before_the_real_one(serve, connect):
    """Early hints are read past, and the connection is reused; the count begins anew with each answer."""

    async def script(_request, wire):
        await wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * (protocol.MAX_INFORMATIONAL - 1))
        await wire.answer(answer())

    server = await serve(script)
    transport = connect(server)
    for _ in range(3):
        assert (await (await transport(CHAT)).completion()).text == "Rhine"
    assert server.connections == 1


async def test_informational_answers_without_an_end_are_given_up(serve, connect):
    """A server that never comes to the point costs a moment, not the time limit."""

    async def script(_request, wire):
        while True:
            await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    server = await serve(script)
    async with asyncio.timeout(2):
        with pytest.raises(ModelUnavailableError, match="too many informational answers"):
            await connect(server)(CHAT)
    await server.all_closed()


@pytest.mark.parametrize(
    "sent",
    [
        SECRET + b"\r\n\r\n",
        b"HTTP/1.1 %s OK\r\n\r\n" % SECRET,
        b"HTTP/1.1 200 OK\r\n%s\r\n\r\n" % SECRET,
        b"HTTP/1.1 200 OK\r\nx: \0%s\r\n\r\n" % SECRET,
        b"HTTP/1.1 200 OK\r\nx: %s\r\n\r\n" % (SECRET * 5000),
        b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n" % SECRET,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + SECRET,
        CHUNKED + SECRET + b"\r\n",
    ],
    ids=["no HTTP", "status", "field", "value", "long", "length", "behind the end", "chunk"],
)
async def test_what_is_no_http_is_typed_and_not_quoted(serve, connect, sent):
    """Neither the error nor its traceback shows what came, which may be an answer; nor is the request to blame."""

    async def script(_request, wire):
        await wire.send(sent)
        await wire.gone()

    with pytest.raises(ModelUnavailableError, match="no sound HTTP") as caught:
        await connect(await serve(script))(CHAT)
    error, shown = caught.value, traceback.format_exception(caught.value)
    while error is not None:
        shown.append(repr(error))
        error = error.__cause__ or error.__context__
    assert not [text for text in shown if "answer" in text.replace(__doc__, "") and "model's" in text]


async def test_a_status_that_the_users_session_raises_for_is_kept(serve):
    """Only what is no HTTP is called so."""

    async def script(_request, wire):
        await wire.answer({}, status=429)

    async with aiohttp.ClientSession(raise_for_status=True) as session:
        transport = OpenAICompatibleTransport((await serve(script)).url, session=session, api_key="sk-1")
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await transport(CHAT)
    assert caught.value.status == 429
    assert "sk-1" not in repr(caught.value)


async def test_a_connector_with_protocols_of_its_own_is_left_alone():
    """Nothing that another has put there is replaced."""

    class Own(ResponseHandler):
        pass

    connector = aiohttp.TCPConnector()
    own = connector._factory = partial(Own, loop=asyncio.get_running_loop())
    assert protocol.harden(connector)._factory is own
    await connector.close()
