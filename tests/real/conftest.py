"""One server for all tests that leave it alive, another for those that kill it; clients, and what they send."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import aiohttp
import pytest
from real.llama import LlamaServer

import resilient_llm as rl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """A server that is ready; tests leave it so."""
    with LlamaServer(tmp_path_factory.mktemp("real") / "server.log", slots=2) as server:
        server.start()
        server.until_health(200)
        yield server


@pytest.fixture
def mortal(tmp_path) -> Iterator[LlamaServer]:
    """A server that has not been started, to be killed at will."""
    with LlamaServer(tmp_path / "server.log") as server:
        yield server


@pytest.fixture
async def llm(server) -> AsyncIterator[rl.AsyncClient]:
    """A client as most people make it."""
    async with rl.AsyncClient("llamacpp", base_url=server.url) as client:
        yield client


@pytest.fixture
def sent() -> Counter[str]:
    """How many requests were written to a server's socket, by path, by the sessions of `session`."""
    return Counter()


@pytest.fixture
async def session(sent) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that counts its requests once they are connected and written."""

    async def count(_session, _context, params: aiohttp.TraceRequestHeadersSentParams) -> None:
        sent[params.url.path] += 1

    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(count)
    async with aiohttp.ClientSession(trace_configs=[tracing]) as session:
        yield session
