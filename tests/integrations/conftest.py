"""A loopback server in OpenAI's dialect whose answers a test scripts, one for each request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

import resilient_llm as rl

if TYPE_CHECKING:
    import openai

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Plays the next script for each request, the last one for all that follow."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.left = asyncio.Event()
        self.connections: set[object] = set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        self.bodies.append(json.loads(data) if data else None)
        self.headers.append(dict(request.headers))
        self.connections.add(request.transport)
        script = self.scripts[min(len(self.bodies), len(self.scripts)) - 1]
        try:
            return await script(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    def client(self, **options: Any) -> openai.AsyncOpenAI:
        import openai  # noqa: PLC0415 - not every session has it

        return openai.AsyncOpenAI(base_url=self.url, api_key="sk-test", max_retries=0, **options)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/v1/{tail:.*}", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
    yield server
    await runner.cleanup()


@pytest.fixture
async def bare(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with server.client() as client:
        yield client


@pytest.fixture
async def wrapped(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with rl.wrap(server.client(), wait=_at_once, jitter=None) as client:
        yield client


def _at_once() -> Any:
    while True:
        yield 0.01
