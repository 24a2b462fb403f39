"""The fault server, seen by a client that knows nothing of it."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import warnings
from typing import Any

import aiohttp
import pytest

import resilient_llm as rl
from resilient_llm.testing import (
    Answer,
    Cut,
    FaultServer,
    Garbage,
    Phase,
    Phases,
    Reset,
    Stall,
    Status,
    Throttle,
)

MESSAGES = [{"role": "user", "content": "Hello"}]
TEXT = "A sound backend writes this whole sentence as its answer to: Hello"


@pytest.fixture
async def session():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


def post(session: aiohttp.ClientSession, server: FaultServer, **body: Any):
    return session.post(f"{server.base_url}/chat/completions", json={"messages": MESSAGES, **body})


async def events(response: aiohttp.ClientResponse) -> list[Any]:
    lines = [line.removeprefix(b"data: ").strip() async for line in response.content]
    return [line if line == b"[DONE]" else json.loads(line) for line in lines if line]


async def until(condition) -> None:
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the kernel
            await asyncio.sleep(0.005)


async def test_a_whole_answer_is_in_the_dialect(session):
    """A sound answer has a message, a finish reason and a usage, and the server saw the request."""
    async with FaultServer() as server:
        async with post(session, server, model="m") as response:
            answer = await response.json()
        assert response.headers["x-request-id"] == "req-1"
        assert answer["choices"][0] == {
            "index": 0,
            "message": {"role": "assistant", "content": TEXT},
            "finish_reason": "stop",
        }
        assert answer["usage"] == {"prompt_tokens": 6, "completion_tokens": 17, "total_tokens": 23}
        (seen,) = server.requests
        assert (seen.number, seen.status, seen.ending, seen.fault) == (1, 200, "completed", "answer")
        assert seen.body["model"] == "m"
        assert 0 <= seen.at <= seen.ended <= server.elapsed


async def test_a_stream_ends_with_reason_usage_and_marker(session):
    """A sound stream brings a role, words, a finish reason, the usage that was asked for, the end marker."""
    async with FaultServer() as server:
        async with post(session, server, stream=True, stream_options={"include_usage": True}) as response:
            first, *pieces, finish, usage, marker = await events(response)
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(piece["choices"][0]["delta"]["content"] for piece in pieces) == TEXT
        assert finish["choices"][0]["finish_reason"] == "stop"
        assert usage["choices"] == []
        assert usage["usage"]["prompt_tokens"] == 6
        assert marker == b"[DONE]"
        assert server.requests[0].stream


async def test_a_script_is_played_once_and_its_last_fault_again_and_again(session):
    """Request n meets the n-th fault; those after the last meet the last."""
    async with FaultServer([Status.overloaded(), Status.failed(), Answer()]) as server:
        statuses = []
        for _ in range(4):
            async with post(session, server) as response:
                await response.read()
                statuses.append(response.status)
    assert statuses == [503, 500, 200, 200]
    assert [seen.fault for seen in server.requests] == ["503", "500", "answer", "answer"]
    assert server.connections == 1, "the connection was kept open"


async def test_a_rate_limit_says_when_to_come_back(session):
    """A 429 carries the wait in whole seconds, rounded up, and exactly in milliseconds."""
    async with FaultServer(Status.rate_limited(0.3)) as server, post(session, server) as response:
        assert response.status == 429
        assert response.headers["retry-after"] == "1"
        assert response.headers["retry-after-ms"] == "300"
        assert (await response.json())["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("body", [b"busy", "busy"])
async def test_any_status_with_any_body(session, body):
    """A status, headers and a body of one's own arrive as they were given."""
    fault = Status(status=599, body=body, headers={"server": "proxy"})
    async with FaultServer(fault) as server, post(session, server) as response:
        assert (response.status, response.headers["server"]) == (599, "proxy")
        assert await response.read() == b"busy"


async def test_a_reset_comes_before_any_answer(session):
    """A reset connection is no answer at all."""
    async with FaultServer(Reset()) as server:
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await post(session, server)
        assert server.requests[0].ending == "reset"
        assert server.requests[0].status is None


async def test_latency_holds_back_the_head_and_interval_the_words(session):
    """A slow backend is slow to begin and slow to go on, and still right."""
    loop = asyncio.get_running_loop()
    async with FaultServer(Answer(latency=0.05, interval=0.01)) as server:
        began = loop.time()
        async with post(session, server, stream=True) as response:
            assert loop.time() - began >= 0.05
            await events(response)
        assert loop.time() - began >= 0.05 + 12 * 0.01
        began = loop.time()
        async with post(session, server):
            assert loop.time() - began >= 0.05 + 12 * 0.01


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_breaks_the_framing(session, stream):
    """A cut answer ends before its announced end; what was sent arrives."""
    async with FaultServer(Cut(after=2)) as server, post(session, server, stream=stream) as response:
        received = await response.content.readany()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        assert received
        assert b"[DONE]" not in received
        await until(lambda: server.requests[0].ending == "cut")


async def test_a_clean_cut_keeps_the_framing(session):
    """A clean cut is sound HTTP: a stream without its finish reason, half a JSON text."""
    async with FaultServer(Cut(after=2, clean=True)) as server:
        async with post(session, server, stream=True) as response:
            _, *pieces = await events(response)
            assert [piece["choices"][0]["delta"]["content"] for piece in pieces] == ["A", " sound"]
        async with post(session, server) as response:
            with pytest.raises(json.JSONDecodeError):
                await response.json()
        assert [seen.ending for seen in server.requests] == ["cut", "cut"]
        assert server.connections == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stall_lasts_until_the_client_leaves(session, stream):
    """A stalled answer never comes to its end, and the server sees the client go."""
    async with FaultServer(Stall(after=1)) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), post(session, server, stream=stream) as response:
                await response.read()
        await until(lambda: server.requests[0].ending == "left")
        await until(lambda: server.open_connections == 0)
        assert server.requests[0].status == (200 if stream else None)


async def test_garbage_comes_with_a_good_status(session):
    """A gateway's page claims success."""
    async with FaultServer(Garbage()) as server, post(session, server) as response:
        assert (response.status, response.content_type) == (200, "text/html")


async def test_an_overflow_tells_its_numbers(session):
    """A request larger than the window is refused with both sizes, whatever would have been answered."""
    long = [{"role": "user", "content": "x" * 400}]
    async with FaultServer(Cut(), window=100) as server:
        async with post(session, server, messages=long, max_tokens=10) as response:
            assert response.status == 400
            error = (await response.json())["error"]
        assert error["code"] == "context_length_exceeded"
        assert "maximum context length is 100 tokens" in error["message"]
        assert "requested 114 tokens (104 in the messages, 10 in the completion)" in error["message"]
        judged = rl.classify(status=400, headers={}, body=json.dumps({"error": error}))
        assert (judged.code, judged.context_limit, judged.context_requested) == (
            "MODEL_CONTEXT_LENGTH",
            100,
            114,
        )
        assert server.requests[0].fault == "overflow"


async def test_an_overloaded_backend_does_not_look_at_the_size(session):
    """Refusals come before the window, as in life."""
    long = [{"role": "user", "content": "x" * 400}]
    async with (
        FaultServer(Status.overloaded(), window=10) as server,
        post(session, server, messages=long) as response,
    ):
        assert response.status == 503


async def test_a_throttle_opens_when_it_said(session):
    """A used-up quota refuses, names the rest of its period, and lets through after it."""
    async with FaultServer(Throttle(refuse=0.1, period=10)) as server:
        async with post(session, server) as response:
            assert response.status == 429
            wait = int(response.headers["retry-after-ms"]) / 1000
        assert 0 < wait <= 0.1
        await asyncio.sleep(wait)
        async with post(session, server) as response:
            assert response.status == 200


async def test_the_models_are_always_listed(session):
    """The list of models meets no fault and is not counted; other paths are unknown."""
    async with FaultServer(Status.failed(), window=512) as server:
        async with session.get(f"{server.base_url}/models") as response:
            (model,) = (await response.json())["data"]
        assert (model["id"], model["context_length"]) == ("fault-model", 512)
        async with session.get(f"{server.base_url}/nothing") as response:
            assert response.status == 404
        assert server.requests == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"messages": ["no object"]}'])
async def test_a_malformed_request_is_the_clients_fault(session, body):
    """A body that is no chat request gets a 400 and disturbs nothing."""
    async with FaultServer() as server:
        async with session.post(f"{server.base_url}/chat/completions", data=body) as response:
            assert response.status == 400
        async with post(session, server) as response:
            assert response.status == 200


async def test_a_body_in_chunks_is_understood(session):
    """Clients may send their requests chunked."""

    async def body():
        yield b'{"messages": [{"role": "user", '
        yield b'"content": [{"type": "text", "text": "Hello"}]}]}'

    async with (
        FaultServer() as server,
        session.post(f"{server.base_url}/chat/completions", data=body()) as response,
    ):
        assert (await response.json())["choices"][0]["message"]["content"] == TEXT


@pytest.mark.parametrize("sent", [b"hello\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
async def test_noise_ends_the_connection(sent):
    """What is no HTTP gets no answer."""
    async with FaultServer() as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()
        assert server.requests == []


async def test_a_second_request_before_the_answer_is_not_supported():
    """Pipelining ends the connection instead of confusing the answers."""
    async with FaultServer(Stall()) as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        one = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
        writer.write(one + one)
        assert await reader.read() == b""
        writer.close()


async def test_own_answers(session):
    """The answer may be a text or a function of the request, the model has a name."""
    async with (
        FaultServer(model="mine", reply=lambda body: body["model"].upper()) as server,
        post(session, server, model="yours") as response,
    ):
        answer = await response.json()
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == ("mine", "YOURS")


async def test_an_own_fault_needs_only_play(session):
    """Whatever has a `play` is a fault."""

    class Teapot:
        async def play(self, exchange):
            await exchange.respond(418, b"short and stout", kind="text/plain")

    async with FaultServer(Teapot()) as server, post(session, server) as response:
        assert response.status == 418


async def test_what_a_reply_raises_is_raised_on_leaving(session):
    """A mistake in a test's own reply is not mistaken for a fault."""
    server = FaultServer(reply=lambda _: str(1 / 0))
    await server.__aenter__()
    with pytest.raises(aiohttp.ClientError):
        await post(session, server)
    with pytest.raises(ZeroDivisionError):
        await server.__aexit__(None, None, None)


async def test_leaving_breaks_off_what_is_under_way(session):
    """A server that is left closes its connections, and its port is free."""
    async with FaultServer(Stall()) as server:
        url = server.base_url
        asking = asyncio.create_task(post(session, server, stream=True)._coro)
        await until(lambda: server.requests)
        response = await asking
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()
    assert server.requests[0].ending == "cut"
    assert repr(server) == "<FaultServer not running, 1 requests, 1 connections>"
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.base_url
    with pytest.raises(ConnectionRefusedError), socket.socket() as sock:
        sock.connect(("127.0.0.1", int(url.split(":")[2].split("/")[0])))


def test_the_seed_decides_the_faults():
    """The same seed gives the same faults, another one others; the shares are kept."""
    phases = [Phase("brown-out", 10, [(0.3, Reset()), (0.2, Status.failed())])]

    def faults(seed):
        schedule = Phases(phases, seed)
        return [str(schedule.fault(number, 5.0)) for number in range(1, 1001)]

    assert faults(1) == faults(1)
    assert faults(1) != faults(2)
    assert 250 <= faults(1).count("reset") <= 350
    assert 150 <= faults(1).count("500") <= 250


def test_phases_follow_each_other():
    """The time says which phase it is; after the last all is well."""
    schedule = Phases([Phase("down", 1, otherwise=Reset()), Phase("busy", 2, [(1.0, Status.overloaded())])])
    assert schedule.seconds == 3
    assert [str(schedule.fault(1, at)) for at in (0, 0.99, 1, 2.99, 3)] == [
        "reset",
        "reset",
        "503",
        "503",
        "answer",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Phase("p", 0), "seconds must be above 0"),
        (lambda: Phase("p", 1, [(0.7, Reset()), (0.4, Reset())]), "sum up to at most 1"),
        (lambda: Throttle(refuse=1, period=1), "refuse must be less than period"),
        (lambda: Answer(latency=-1), "latency must be 0 or more"),
        (lambda: Cut(after=-1), "after must be 0 or more"),
        (lambda: FaultServer([]), "at least one fault"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    """Options out of range are refused at once, naming what would do."""
    with pytest.raises(ValueError, match=message):
        make()


async def test_the_stack_meets_it_like_any_backend():
    """Retries, pruning and time limits work against it."""
    async with (
        FaultServer([Status.rate_limited(0.05), Reset(), Answer()], window=200) as server,
        rl.AsyncClient("openai-compatible", base_url=server.base_url, model="m") as llm,
    ):
        turns = [{"role": role, "content": "word " * 60} for role in ("user", "assistant") * 3]
        done = await llm.complete([*turns, *MESSAGES], initial_backoff=0.01)
    assert done.text == TEXT
    assert done.pruned is not None
    assert [seen.fault for seen in server.requests] == ["429", "reset", "overflow", "answer"]


async def test_a_connection_that_is_not_to_be_kept_is_said_to_be_closed(session):
    """Whole, streamed or refused: the client does not write its next request to a socket that is being closed."""
    async with FaultServer([Answer(), Answer(), Status.failed()]) as server:
        for stream in (False, True, False):
            url = f"{server.base_url}/chat/completions"
            body = {"messages": MESSAGES, "stream": stream}
            async with session.post(url, json=body, headers={"connection": "close"}) as response:
                await response.read()
            assert response.headers["connection"] == "close"


@pytest.mark.parametrize("turns", range(8))
async def test_a_server_that_leaves_closes_what_has_just_come(turns):
    """However far a connection has come when the server leaves: it is closed, not left to the garbage collector."""
    async with FaultServer() as server:
        port = int(server.url.rpartition(":")[2])
        client = socket.create_connection(("127.0.0.1", port))
        for _ in range(turns):
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    client.close()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()
    assert [str(warning.message) for warning in seen] == []
