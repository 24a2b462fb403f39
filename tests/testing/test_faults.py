"""What each fault does on the wire, seen by a client that knows nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import urllib.error
import urllib.request

import aiohttp
import pytest

from resilient_llm.testing import (
    Answer,
    Call,
    Cut,
    Dribble,
    ErrorEvent,
    FaultServer,
    Flood,
    Hollow,
    KeepAlive,
    Malformed,
    Reply,
    Stall,
    Status,
    WrongLength,
    serving,
)

CHAT, CLAUDE, LLAMA, RESPONSES = "/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/responses"
BODY = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
TEXT = "Grüße von hier"


@pytest.fixture
async def session():
    headers = {"anthropic-version": "2023-06-01"}
    async with aiohttp.ClientSession(
        headers=headers, timeout=aiohttp.ClientTimeout(total=5), read_bufsize=1 << 20
    ) as session:
        yield session


def asking(session, server, path=CHAT, *, stream=True, **body):
    return session.post(f"{server.url}{path}", json={**BODY, "stream": stream, **body})


@contextlib.asynccontextmanager
async def wire(server, *, stream=True):
    """The bare connection after a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    body = json.dumps({**BODY, "stream": stream}).encode()
    writer.write(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body))
    yield reader
    writer.close()
    await writer.wait_closed()


async def body_of(session, *faults, path=CHAT, stream=True, reply=TEXT, **body) -> bytes:
    """The body as far as it came."""
    came = b""
    async with FaultServer(faults, reply=reply) as server:
        try:
            async with asking(session, server, path, stream=stream, **body) as response:
                async for piece in response.content.iter_any():
                    came += piece
        except aiohttp.ClientPayloadError:
            pass
    return came


async def test_a_slow_first_token_comes_after_the_head(session):
    """The head is there at once, the first piece late, the others as usual."""
    loop = asyncio.get_running_loop()
    async with FaultServer(Answer(first_token=0.1)) as server:
        began = loop.time()
        async with asking(session, server) as response:
            headed = loop.time() - began
            await response.read()
    assert headed < 0.1 <= loop.time() - began < 1.0


async def test_each_answer_may_have_its_own_reply(session):
    """What a fault says wins over what the server says; a function sees the request."""
    faults = [Answer(reply="one"), Answer(reply=lambda body: Reply(body["model"])), Answer()]
    async with FaultServer(faults, reply="server") as server:
        texts = []
        for _ in faults:
            async with asking(session, server, stream=False) as response:
                texts.append((await response.json())["choices"][0]["message"]["content"])
    assert texts == ["one", "m", "server"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("clean", [False, True])
async def test_a_cut_at_a_byte(session, stream, clean):
    """The body breaks off after so many bytes, with the framing broken or whole."""
    sound = await body_of(session, Answer(), stream=stream)
    came = await body_of(session, Cut(at=40, clean=clean), stream=stream)
    assert came == sound[:40]


@pytest.mark.parametrize(
    ("path", "reason", "end"), [(CHAT, b'"stop"', b"[DONE]"), (CLAUDE, b"end_turn", b"message_stop")]
)
async def test_a_finished_stream_may_lack_its_end_marker(session, path, reason, end):
    """All of the text and the finish reason come, the end marker does not."""
    sound = await body_of(session, Answer(), path=path)
    came = await body_of(session, Cut(finished=True, clean=True), path=path)
    assert reason in came
    assert end not in came
    assert sound.startswith(came)


async def test_a_call_may_be_cut_in_its_arguments(session):
    """Fragments of the arguments are pieces like any other."""
    reply = Reply(calls=[Call("weather", {"town": "Tromsø"})])
    came = await body_of(session, Cut(after=2, clean=True), reply=reply)
    arguments = re.findall(r'"arguments": "((?:[^"\\]|\\.)*)"', came.decode())
    assert json.loads(f'"{"".join(arguments)}"') == '{"town":'


async def test_arguments_may_be_no_json(session):
    """A text is sent as it is, however a model may have broken it."""
    reply = Reply(calls=[Call("weather", '{"town": "Tro')], finish_reason="length")
    async with FaultServer(reply=reply) as server, asking(session, server, stream=False) as response:
        (choice,) = (await response.json())["choices"]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"town": "Tro'
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
async def test_silence_is_a_stall_before_the_head(session, stream):
    """Not even the head of a stream comes."""
    async with FaultServer(Stall(after=None)) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), asking(session, server, stream=stream):
                pass
        assert server.requests[0].status is None


@pytest.mark.parametrize(
    ("path", "stream", "sign"),
    [
        (CHAT, True, b": keep-alive\n\n"),
        (CLAUDE, True, b'event: ping\ndata: {"type": "ping"}\n\n'),
        (LLAMA, True, b"\n"),
        (CHAT, False, b"\n"),
    ],
)
async def test_signs_of_life_go_on_without_content(session, path, stream, sign):
    """After a piece nothing comes but comments, pings or blank lines, for as long as the client stays."""
    async with FaultServer(KeepAlive(after=1, every=0.001)) as server:
        async with asking(session, server, path, stream=stream) as response:
            came = b""
            while came.count(sign * 3) < 3:
                came += await response.content.readany()
        assert came.endswith(sign * 3)
        assert (b"A" in came) is stream
        await until(lambda: server.requests[0].ending == "left")


async def until(condition) -> None:
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the kernel
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, CLAUDE, LLAMA])
async def test_a_dribble_is_the_same_answer_in_small_pieces(session, path, stream):
    """No byte is lost, though reads end within events and within characters."""
    sound = await body_of(session, Answer(), path=path, stream=stream)
    cuts = 0
    async with (
        FaultServer(Dribble(size=3), reply=TEXT) as server,
        asking(session, server, path, stream=stream) as response,
    ):
        came = b""
        async for piece in response.content.iter_any():
            came += piece
            cuts += 1
    assert came == sound
    assert "Grüße".encode() in came.replace(b'"}', b"")
    assert cuts > len(came) / 30, "the pieces came apart"


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        (CHAT, {"choices": []}),
        (CLAUDE, {"content": [], "stop_reason": None}),
        (LLAMA, {"done": False}),
        (RESPONSES, {"output": []}),
        ("/v1/embeddings", {"data": []}),
        ("/api/embed", {"embeddings": []}),
    ],
)
async def test_a_hollow_answer_is_a_shell(session, path, whole):
    """No choices, no content, no reason; a stream that begins and ends."""
    body = json.loads(await body_of(session, Hollow(), path=path, stream=False, input="x"))
    assert {name: body[name] for name in whole} == whole
    came = await body_of(session, Hollow(), path=path, input="x")
    assert b"finish_reason" not in came.replace(b'"finish_reason": null', b"")


async def test_a_malformed_piece_stands_among_sound_ones(session):
    """One event is no JSON, those before and after it are, and the stream has its end."""
    came = await body_of(session, Malformed(after=1))
    *events, end = [line[6:] for line in came.split(b"\n\n") if line]
    broken = []
    for number, event in enumerate(events):
        try:
            json.loads(event)
        except ValueError:
            broken.append(number)
    assert (broken, end) == ([2], b"[DONE]")
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(await body_of(session, Malformed(), stream=False))


@pytest.mark.parametrize(
    ("path", "event"),
    [
        (CHAT, rb'data: \{"error": \{"message": "The engine'),
        (CLAUDE, rb'event: error\ndata: \{"type": "error", "error": \{"type": "overloaded_error"'),
        (LLAMA, rb'\n\{"error": "server busy'),
        (
            RESPONSES,
            rb'event: error\ndata: \{"type": "error", "sequence_number": \d+, "error": \{"message": "The engine',
        ),
    ],
)
async def test_an_error_may_come_with_status_200(session, path, event):
    """In the middle of a stream in the dialect's form, or instead of a whole answer."""
    came = await body_of(session, ErrorEvent(after=1), path=path)
    assert re.search(event, came)
    assert b"Gr" in came
    whole = json.loads(await body_of(session, ErrorEvent(), path=path, stream=False))
    assert "error" in whole


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("by", [5, -5])
async def test_a_length_may_be_wrong(session, stream, by):
    """Too long: the client waits for more. Too short: the rest comes after the end. The body is sound."""
    sound = await body_of(session, Answer(), stream=stream)
    async with FaultServer(WrongLength(by=by), reply=TEXT) as server, wire(server, stream=stream) as reader:
        head = await reader.readuntil(b"\r\n\r\n")
        assert f"content-length: {len(sound) + by}\r\n".encode() in head
        assert await reader.readexactly(len(sound)) == sound
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)


async def test_a_redirect_is_a_status_with_a_place(session):
    """Where to go is a header like any other."""
    fault = Status(307, headers={"location": "http://elsewhere.example/v1"})
    async with (
        FaultServer(fault) as server,
        session.post(f"{server.url}{CHAT}", json=BODY, allow_redirects=False) as response,
    ):
        assert (response.status, response.headers["location"]) == (307, "http://elsewhere.example/v1")


async def test_a_status_without_a_body_says_what_the_backend_says(session):
    """The dialect writes the error, also of a status that means nothing in particular."""
    async with FaultServer([Status(529), Status(418), Status(500, body=b"")]) as server:
        async with asking(session, server, CLAUDE) as response:
            assert (await response.json())["error"]["type"] == "overloaded_error"
        async with asking(session, server) as response:
            assert (await response.json())["error"]["message"] == "I'm a Teapot"
        async with asking(session, server) as response:
            assert (response.status, await response.read()) == (500, b"")


async def offered(fault) -> bytes:
    """All that a flood sends, its head included."""
    async with FaultServer(fault) as server, wire(server) as reader:
        return await reader.read()


SIZE = 600_000


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("line", b"x" * 1000),
        ("events", b'"delta": {"content":'),
        ("signs", b": keep-alive\n\n" * 10),
        ("values", b"{}," * 1000),
        ("chunk", b"\r\n927c0\r\n" + b"x" * 1000),
        ("body", b"content-length: 600000\r\n"),
        ("header", b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 1000),
        ("headers", b"x-many: yes\r\n" * 1000),
        ("trailers", b"0\r\n" + b"x-many: yes\r\n" * 1000),
        ("informational", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    ],
)
async def test_a_flood_is_as_large_as_it_is_told_to_be(kind, what):
    """So many bytes of the kind, and then the end of the connection."""
    came = await offered(Flood(kind, size=SIZE))
    assert what in came
    assert SIZE <= len(came) < SIZE + 2000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_is_small_on_the_wire(session, encoding):
    """What is compressed grows by hundreds of times when it is unpacked."""
    bomb = Flood("line", size=10 * SIZE, encoding=encoding)
    assert len(await offered(bomb)) < SIZE / 10
    async with FaultServer(bomb) as server, asking(session, server) as response:
        assert response.headers["content-encoding"] == encoding
        assert (await response.content.readexactly(SIZE)).endswith(b"x" * 1000)


def ask_blocking(server):
    body = json.dumps(BODY | {"stream": False}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}{LLAMA}", body)) as response:  # noqa: S310
        return json.load(response)["message"]["content"]


def test_a_server_in_a_thread_serves_those_who_block():
    """No event loop is needed, and a new script may be given at any time."""
    with serving(Answer(), reply="hi") as server:
        assert ask_blocking(server) == "hi"
        server.begin(Status(503))
        assert server.requests == []
        with pytest.raises(urllib.error.HTTPError, match="503"):
            ask_blocking(server)
        assert 0 < server.requests[0].at <= server.elapsed


def test_a_mistake_in_a_thread_is_raised_on_leaving():
    """What a reply raised is not lost with the thread."""
    with (
        pytest.raises(ZeroDivisionError),
        serving(reply=lambda _: str(1 / 0)) as server,
        pytest.raises(OSError, match=r"closed|reset|Remote"),
    ):
        ask_blocking(server)
