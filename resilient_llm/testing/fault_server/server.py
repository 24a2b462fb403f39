"""The server: connections, requests, records."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from .exchange import Exchange
from .faults import Answer, Fault
from .openai import OpenAIDialect
from .reading import Incoming, read_request
from .records import SeenRequest
from .schedule import Schedule, Script

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import TracebackType

BROKEN = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


class FaultServer:
    """A real HTTP server on the loopback interface that speaks OpenAI's chat dialect and fails as told.

    Chat requests, whole or streamed, meet the schedule's faults; the list of models is always answered. Keeps
    connections open as servers do. Request pipelining and TLS are not supported.

        async with FaultServer([Status.rate_limited(0.5), Answer()]) as server:
            async with rl.AsyncClient("openai-compatible", base_url=server.base_url) as llm:
                done = await llm.complete("Hello")
        assert [seen.status for seen in server.requests] == [429, 200]

    `requests` holds what was seen, `connections` counts how many there were, `open_connections` how many there are.

    Args:
        schedule: A fault for all requests; or several, one for each request and the last for all that follow; or
            a `Schedule`.
        dialect: Model and answers.
        window: The context window in tokens: longer requests are refused as a backend refuses them, with the
            numbers. None: no limit.

    Raises:
        Exception: On leaving, what a fault or a reply of your own raised.
    """

    def __init__(
        self,
        schedule: Schedule | Fault | Sequence[Fault] | None = None,
        *,
        dialect: OpenAIDialect | None = None,
        window: int | None = None,
    ) -> None:
        self.requests: list[SeenRequest] = []
        self.connections = 0
        self._schedule = _schedule(schedule)
        self._dialect = dialect or OpenAIDialect()
        self._window = window
        self._tasks: set[asyncio.Task[None]] = set()
        self._began = 0.0
        self._server: asyncio.Server | None = None
        self._crash: Exception | None = None

    def __repr__(self) -> str:
        """The address and what was seen."""
        where = f"at {self.base_url}" if self._server else "not running"
        return f"<FaultServer {where}, {len(self.requests)} requests, {self.connections} connections>"

    @property
    def base_url(self) -> str:
        """Where it is, with `/v1`.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._server is None:
            msg = "the server is not running: enter it with `async with`"
            raise RuntimeError(msg)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return len(self._tasks)

    @property
    def elapsed(self) -> float:
        """Seconds since the schedule began."""
        return asyncio.get_running_loop().time() - self._began

    def begin(self) -> None:
        """Let the schedule begin now, and forget what was seen; it begins with the server otherwise."""
        self._began = asyncio.get_running_loop().time()
        self.requests.clear()

    async def __aenter__(self) -> Self:
        """Listen, on a free port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stop listening and break off what is under way."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._crash is not None and exc is None:
            raise self._crash

    # Serving ...

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
        seen = SeenRequest(len(self.requests) + 1, self.elapsed, connection, incoming.headers, {})
        exchange = Exchange(seen, self._dialect, self._window, reader, writer)
        if incoming.route == ("POST", "chat/completions"):
            self.requests.append(seen)
            await self._noted(self._chat(exchange, incoming.body), seen)
        elif incoming.route == ("GET", "models"):
            await exchange.respond(200, self._dialect.models(self._window))
        else:
            error = self._dialect.error(f"Invalid URL ({incoming.target})", kind="invalid_request_error")
            await exchange.respond(404, error)
        return not exchange.broken and incoming.headers.get("connection", "").lower() != "close"

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

    async def _chat(self, exchange: Exchange, body: bytes) -> None:
        seen = exchange.request
        try:
            seen.body = _object(body)
            seen.tokens = self._dialect.count(seen.body)
        except (ValueError, AttributeError, TypeError):
            seen.fault = "malformed"
            error = self._dialect.error("The body is no chat request", kind="invalid_request_error")
            await exchange.respond(400, error)
        else:
            await exchange.play(self._schedule.fault(seen.number, seen.at))


def _object(body: bytes) -> dict[str, object]:
    value = json.loads(body)
    if not isinstance(value, dict):
        msg = "no JSON object"
        raise TypeError(msg)
    return value


def _schedule(schedule: Schedule | Fault | Sequence[Fault] | None) -> Schedule:
    if schedule is None:
        return Script([Answer()])
    if isinstance(schedule, Sequence):
        return Script(schedule)
    if isinstance(schedule, Schedule):
        return schedule
    return Script([schedule])
