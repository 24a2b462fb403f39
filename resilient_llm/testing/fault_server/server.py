"""The server: connections, requests, records."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self, TypedDict

from .dialect import Dialect
from .exchange import Exchange
from .listings import Asked
from .reading import MALFORMED, Incoming, json_object, read_request
from .records import SeenRequest
from .reply import echo
from .routes import LISTINGS, backend_of, dialects
from .schedule import as_schedule
from .shapes import refuse
from .words import Facts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from types import TracebackType

    from .faults import Fault
    from .listings import Listing
    from .reply import Source
    from .schedule import Schedule
    from .words import Backend

BROKEN = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)

ACCEPTING = 4
"""Turns of the loop that asyncio takes at most from accepting a connection to handing it over."""


class ServerOptions(TypedDict, total=False):
    """The options of `FaultServer` beside its schedule."""

    reply: Source
    model: str
    window: int | None
    backend: Backend


class FaultServer:
    """A real HTTP server on the loopback interface that speaks the dialects of all backends and fails as told.

    The path says which dialect: OpenAI's chats (`/v1/chat/completions`), responses and embeddings, Anthropic's
    messages (`/v1/messages`), Ollama's chats, completions and embeddings (`/api/chat`, ...), whole or streamed.
    These requests meet the schedule's faults; lists of models and counts of tokens are always answered. Keeps
    connections open as servers do. Request pipelining and TLS are not supported.

        async with FaultServer([Status.rate_limited(0.5), Answer()]) as server:
            async with rl.AsyncClient("openai-compatible", base_url=server.base_url) as llm:
                done = await llm.complete("Hello")
        assert [seen.status for seen in server.requests] == [429, 200]

    `requests` holds what was seen, `connections` counts how many there were, `open_connections` how many there are.

    Args:
        schedule: A fault for all requests; or several, one for each request and the last for all that follow; or
            a `Schedule`.
        reply: What the model says: a text, a `Reply`, or a function of the request's body that gives either.
        model: The model that is offered and that answers.
        window: The context window in tokens: longer requests are refused as a backend refuses them, with the
            numbers; Ollama counts no more than fit. None: no limit.
        backend: Whose words refusals in OpenAI's dialect are in: `openai`, `llamacpp`, `lmstudio` or `vllm`.

    Raises:
        Exception: On leaving, what a fault or a reply of your own raised.
    """

    def __init__(
        self,
        schedule: Schedule | Fault | Sequence[Fault] | None = None,
        *,
        reply: Source = echo,
        model: str = "fault-model",
        window: int | None = None,
        backend: Backend = "openai",
    ) -> None:
        self.requests: list[SeenRequest] = []
        self.connections = 0
        self._schedule = as_schedule(schedule)
        self._reply = reply
        self._model = model
        self._window = window
        self._backend: Backend = backend
        self._dialects = dialects(backend)
        self._tasks: set[asyncio.Task[None]] = set()
        self._began = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._crash: Exception | None = None

    def __repr__(self) -> str:
        """The address and what was seen."""
        where = f"at {self.base_url}" if self._server else "not running"
        return f"<FaultServer {where}, {len(self.requests)} requests, {self.connections} connections>"

    @property
    def url(self) -> str:
        """Where it is for clients of Anthropic and Ollama: the root.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._server is None:
            msg = "the server is not running: enter it with `async with`"
            raise RuntimeError(msg)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def base_url(self) -> str:
        """Where it is for clients of OpenAI and compatible servers: with `/v1`."""
        return f"{self.url}/v1"

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._tasks)

    @property
    def elapsed(self) -> float:
        """Seconds since the schedule began. From any thread."""
        return 0.0 if self._loop is None else self._loop.time() - self._began

    def begin(self, *faults: Schedule | Fault) -> None:
        """Let the schedule begin now, and forget what was seen; it begins with the server otherwise.

        Args:
            faults: A new schedule: one fault for each request and the last for all that follow, or a `Schedule`.
        """
        if faults:
            self._schedule = as_schedule(faults)
        self._began = self._loop.time() if self._loop else 0.0
        self.requests.clear()

    async def __aenter__(self) -> Self:
        """Listen, on a free port."""
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stop listening and break off what is under way."""
        server, self._server = self._server, None
        for _ in range(ACCEPTING):  # asyncio loses what it has accepted when it closes before that has come
            await asyncio.sleep(0)
        if server is not None:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._crash is not None and exc is None:
            raise self._crash

    # Serving ...

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # it was accepted, but the server has left since
            writer.close()
            return
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())  # also if it was cancelled before its first step

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while await self._answer(await read_request(reader), number, reader, writer):
                pass
        except BROKEN:
            pass
        except Exception as exc:  # noqa: BLE001 - a fault's or a reply's own; raised on leaving
            self._crash = self._crash or exc
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(
        self, incoming: Incoming, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer a request. True if the connection can take another one."""
        path = incoming.route[1]
        seen = SeenRequest(len(self.requests) + 1, self.elapsed, connection, incoming.headers, {}, path)
        dialect = self._dialects.get(incoming.route) or Dialect(backend_of(path, self._backend))
        exchange = Exchange(seen, dialect, self._model, self._reply, self._window, reader, writer)
        if incoming.route in self._dialects:
            self.requests.append(seen)
            await self._noted(self._meet(exchange, incoming), seen)
        elif listing := LISTINGS.get(incoming.route):
            await exchange.respond(*self._listed(listing, incoming))
        else:
            detail = f"Invalid URL ({incoming.method} {path})"
            _, body = exchange.refusal("malformed", detail)
            await exchange.respond(404, body)
        return not exchange.broken and incoming.headers.get("connection", "").lower() != "close"

    def _listed(self, listing: Listing, incoming: Incoming) -> tuple[int, bytes]:
        try:
            body = json_object(incoming.body or b"{}")
            return listing(Asked(self._model, self._window, incoming.headers, body))
        except MALFORMED:
            backend = backend_of(incoming.route[1], self._backend)
            return refuse(backend, "malformed", Facts(detail="The body is malformed"))

    async def _noted(self, answering: Awaitable[None], seen: SeenRequest) -> None:
        """Answer, and take note of how it ended."""
        try:
            await answering
        except ConnectionError:
            seen.ending = seen.ending or "left"
            raise
        except BaseException:
            seen.ending = "cut"
            raise
        else:
            seen.ending = seen.ending or "completed"
        finally:
            seen.ended = self.elapsed

    async def _meet(self, exchange: Exchange, incoming: Incoming) -> None:
        seen, dialect = exchange.request, exchange.dialect
        try:
            seen.body = json_object(incoming.body)
            seen.tokens = dialect.count(seen.body)
            seen.stream = dialect.streams(seen.body)
            complaint = dialect.complaint(seen.body, incoming.headers)
        except MALFORMED:
            complaint = "The body is malformed"
        if complaint:
            seen.fault = "malformed"
            await exchange.refuse("malformed", detail=complaint)
        else:
            await exchange.play(self._schedule.fault(seen.number, seen.at))
