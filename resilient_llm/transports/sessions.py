"""aiohttp's sessions: one for each event loop, opened when first needed, closed with the loop at the latest.

A session's sockets belong to the loop in which it was made. A second `asyncio.run` therefore gets a session
of its own. Who forgets `aclose()` is not punished: an asynchronous generator that the loop knows of is
closed by `loop.shutdown_asyncgens()`, which `asyncio.run` calls, and closes the session with it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp

from .drains import Drains
from .protocol import harden
from .request import request_class

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CONNECT_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
READ_BUFFER_BYTES: Final = 64 * 1024
MAX_HEADER_BYTES: Final = 64 * 1024
"""aiohttp's own bound, 8 KiB, is less than what proxies and policies put into one header."""


class Closable(Protocol):
    """Something that can be ended at once."""

    def close(self) -> None:
        """End it."""
        ...


class Pool:
    """What belongs to one event loop: a session, its streams that are being read, their bound, and its drains."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        loop: asyncio.AbstractEventLoop,
        owned: bool,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self.session = session
        self.loop = loop
        self.streams: set[Closable] = set()
        self.max_answer_bytes = max_answer_bytes
        self.drains = Drains(loop)
        self._owned = owned

    async def aclose(self) -> None:
        """Break off the streams, give up the drains, and close the session if it was made here."""
        for stream in tuple(self.streams):
            stream.close()
        self.drains.close()
        if self._owned:
            await self.session.close()


class Sessions:
    """Finds the session for the running loop.

    Args:
        session: Used instead of making one; never closed.
        connector: The connector of the session that is made; closed with it, as aiohttp does.
        keepalive: Seconds after which an idle connection is not used any more.
        max_answer_bytes: The longest answer.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession | None = None,
        connector: aiohttp.BaseConnector | None = None,
        keepalive: float = 15.0,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        if session is not None and connector is not None:
            msg = "give either session or connector, not both: a session has its own connector"
            raise ValueError(msg)
        if max_answer_bytes < 1:
            msg = f"max_answer_bytes must be 1 or more, not {max_answer_bytes!r}"
            raise ValueError(msg)
        self.max_answer_bytes = max_answer_bytes
        self._session = session
        self._connector = connector
        self._keepalive = keepalive
        self._pools: dict[asyncio.AbstractEventLoop, tuple[Pool, AsyncGenerator[None, None]]] = {}

    def known(self) -> Pool | None:
        """The running loop's pool, if there is one."""
        entry = self._pools.get(asyncio.get_running_loop())
        return None if entry is None or entry[0].session.closed else entry[0]

    async def pool(self) -> Pool:
        """The running loop's pool."""
        return self.known() or await self._open(asyncio.get_running_loop())

    async def aclose(self) -> None:
        """Close the pools of the running loop and of loops that have ended. A later call opens a new one."""
        await self._forget_ended()
        entry = self._pools.pop(asyncio.get_running_loop(), None)
        if entry is not None:
            await entry[1].aclose()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Pool:
        pool = Pool(
            self._session or self._make(),
            loop=loop,
            owned=self._session is None,
            max_answer_bytes=self.max_answer_bytes,
        )
        guard = _until_the_loop_ends(pool)
        await anext(guard)
        self._pools[loop] = (pool, guard)
        await self._forget_ended()
        return pool

    async def _forget_ended(self) -> None:
        """Let go of loops that were closed; most have closed their sessions themselves."""
        for loop in list(self._pools):
            if loop.is_closed() and (entry := self._pools.pop(loop, None)):
                await entry[0].aclose()

    def _make(self) -> aiohttp.ClientSession:
        if self._connector is not None and self._connector.closed:
            msg = "the connector is closed; give a new one, or none"
            raise RuntimeError(msg)
        connector = harden(self._connector or self._make_connector())
        return aiohttp.ClientSession(
            connector=connector,
            request_class=request_class(connector),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            read_bufsize=READ_BUFFER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )

    def _make_connector(self) -> aiohttp.BaseConnector:
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=self._keepalive)


async def _until_the_loop_ends(pool: Pool) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await pool.aclose()
