"""Sessions belong to event loops: opened late, reused, closed, never carried over."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import pytest
from transports.answers import CHAT, STREAM, answer

from resilient_llm.transports import OpenAICompatibleTransport


async def fine(_request, wire):
    await wire.answer(answer())


@pytest.fixture
def server():
    """A server in a thread of its own: it outlives the loops of its clients."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'{"model": "m", "choices": [{"message": {"content": "Rhine"}, "finish_reason": "stop"}]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()
    thread.join()


async def ask(transport):
    response = await transport(CHAT)
    return (await response.completion()).text


def test_two_loops_in_sequence_get_a_session_each_and_leave_none_open(server):
    """A second `asyncio.run` works, and forgetting `aclose()` warns of nothing."""
    transport = OpenAICompatibleTransport(server)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            assert asyncio.run(ask(transport)) == "Rhine"
        assert len(transport._sessions._pools) == 1
        del transport
        gc.collect()


def test_two_loops_at_once_do_not_share_a_session(server):
    """Clients on several threads may use one transport."""
    transport = OpenAICompatibleTransport(server)
    texts = []
    threads = [threading.Thread(target=lambda: texts.append(asyncio.run(ask(transport)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["Rhine"] * 4


def test_a_stream_left_open_by_a_loop_that_ends_warns_of_nothing_but_itself(server):
    """The session closes its streams with the loop; the response alone says that it was dropped."""
    transport = OpenAICompatibleTransport(server)
    kept = []

    async def leave():
        kept.append(await transport(STREAM))

    asyncio.run(leave())
    kept[0].close()
    gc.collect()


def test_closing_in_another_loop_forgets_the_sessions_of_loops_that_ended(server):
    """`aclose()` cleans up after `asyncio.run`, and the transport can be used again."""
    transport = OpenAICompatibleTransport(server)
    asyncio.run(ask(transport))
    asyncio.run(transport.aclose())
    assert not transport._sessions._pools
    assert asyncio.run(ask(transport)) == "Rhine"


async def test_nothing_is_opened_before_it_is_needed():
    """Constructing a transport needs no loop and opens nothing."""
    transport = await asyncio.to_thread(OpenAICompatibleTransport, "http://localhost:1")
    assert not transport._sessions._pools
    await transport.aclose()


async def test_calls_share_a_connection(serve, connect):
    """Calls in sequence use one connection."""
    server = await serve(fine)
    transport = connect(server)
    for _ in range(5):
        await transport(CHAT)
    assert server.connections == 1


async def test_more_calls_than_aiohttp_allows_by_default_run_at_once(serve, connect):
    """The connector does not limit: how many calls run is the business of a stage."""
    go_on = asyncio.Event()

    async def script(_request, wire):
        await go_on.wait()
        await wire.answer(answer())

    server = await serve(script)
    transport = connect(server)
    tasks = [asyncio.create_task(transport(CHAT)) for _ in range(130)]
    await server.received(130)
    go_on.set()
    await asyncio.gather(*tasks)


async def test_a_session_given_is_used_and_not_closed(serve):
    """Its owner closes it."""
    server = await serve(fine)
    async with aiohttp.ClientSession(headers={"X-Mine": "1"}) as session:
        transport = OpenAICompatibleTransport(server.url, session=session)
        await transport(CHAT)
        await transport.aclose()
        assert not session.closed
        await transport(CHAT)
    assert server.requests[0].headers["x-mine"] == "1"
    assert server.connections == 1


async def test_a_connector_given_is_used_and_closed_with_the_transport(serve):
    """As `aiohttp.ClientSession` does with its connector."""
    server = await serve(fine)
    connector = aiohttp.TCPConnector(limit=1)
    transport = OpenAICompatibleTransport(server.url, connector=connector)
    await asyncio.gather(*(transport(CHAT) for _ in range(5)))
    assert server.connections == 1
    await transport.aclose()
    assert connector.closed
    with pytest.raises(RuntimeError, match="connector is closed"):
        await transport(CHAT)


async def test_session_and_connector_exclude_each_other():
    """A session has its own connector."""
    async with aiohttp.ClientSession() as session, aiohttp.TCPConnector() as connector:
        with pytest.raises(ValueError, match="either session or connector"):
            OpenAICompatibleTransport("http://localhost:1", session=session, connector=connector)


def test_the_longest_answer_is_a_positive_number():
    """A bound of nothing would refuse every answer."""
    with pytest.raises(ValueError, match="max_answer_bytes must be 1 or more"):
        OpenAICompatibleTransport("http://localhost:1", max_answer_bytes=0)


async def test_waiting_for_a_connection_of_the_pool_is_not_limited_by_the_connect_timeout(serve):
    """Ten seconds are for connecting; a call may wait for its turn for longer."""
    transport = OpenAICompatibleTransport((await serve(fine)).url)
    timeout = (await transport._sessions.pool()).session.timeout
    assert (timeout.total, timeout.connect, timeout.sock_connect, timeout.sock_read) == (None, None, 10, None)
    await transport.aclose()
