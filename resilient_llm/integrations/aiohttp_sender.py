"""Sends what an untouched transport of httpx or httpx2 would have sent, by aiohttp, in a fraction of its time.

Untouched is a library's own transport to the address itself: no proxy, no HTTP/2, no socket of one's own, nothing
that somebody patched (test libraries, instrumentation). Its certificates, socket options and limits are taken over.
"""

from __future__ import annotations

import socket
import weakref
from contextlib import suppress
from functools import lru_cache
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from resilient_llm.transports.reading import next_read, raise_clean
from resilient_llm.transports.request import send
from resilient_llm.transports.sessions import Sessions

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from resilient_llm.http_call import HTTPCall
    from resilient_llm.transports.sessions import Pool

    from .httpx_family import Family, HTTPRequest

KEEPALIVE_SECONDS: Final = 5.0
UNLIMITED: Final = 1 << 31
NOT_ADDED: Final = ("accept", "accept-encoding", "content-type", "user-agent")
"""Headers that aiohttp would add."""
OWN: Final = {
    "AsyncHTTPTransport": ("handle_async_request", "AsyncConnectionPool", "AutoBackend"),
    "HTTPTransport": ("handle_request", "ConnectionPool", "SyncBackend"),
}
"""The libraries' own transports: what sends, in what pool, over what."""


def is_untouched(transport: Any, family: Family) -> bool:
    """May aiohttp send in place of this transport?"""
    kind = type(transport)
    handle, pool_name, network = OWN.get(kind.__name__, ("", "", ""))
    if kind is not getattr(family.module, kind.__name__, None) or not _is_own(kind, handle):
        return False
    pool = transport._pool  # noqa: SLF001 - it has no public side
    own = vars(pool)
    return (
        type(pool).__name__ == pool_name
        and _is_own(type(pool), handle)
        and type(own["_network_backend"]).__name__ == network
        and (own["_http1"], own["_http2"], own["_retries"]) == (True, False, 0)
        and own["_uds"] is own["_local_address"] is None
    )


def is_rewritten(request: HTTPRequest) -> bool:
    """Would it go out with other headers, for want of a decompressor?"""
    coding = request.headers.get("accept-encoding")
    return coding is not None and _supported(coding) != coding


def _is_own(kind: type, name: str) -> bool:
    function = vars(kind).get(name)
    return (
        isinstance(function, FunctionType)
        and function.__module__.startswith(f"{kind.__module__}._")
        and not hasattr(function, "__wrapped__")
    )


class AiohttpReceived:
    """An answer that aiohttp is receiving."""

    broken: tuple[type[Exception], ...] = (aiohttp.ClientError,)

    def __init__(self, response: aiohttp.ClientResponse, pool: Pool) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        if "content-encoding" in response.headers:
            self.headers = CIMultiDict(response.headers)
            for name in ("content-encoding", "content-length", "transfer-encoding"):
                self.headers.pop(name, None)
        self._response = response
        self._content = response.content
        self._pool = pool
        pool.streams.add(response)

    async def read(self) -> bytes:
        """The next read; see `next_read`."""
        return await next_read(self._content)

    def close(self, *, complete: bool) -> asyncio.Task[None] | None:
        """At once: for reuse if the answer is complete, else dropped."""
        self._pool.streams.discard(self._response)
        if complete:
            self._pool.drains.take(self._response)
        else:
            self._response.close()
        return None


class AiohttpSender:
    """Sends in place of one transport, in pools of its own: one for each event loop.

    Args:
        transport: An untouched transport, which is not used.
    """

    def __init__(self, transport: Any) -> None:
        self._sessions = _Sessions(transport._pool)  # noqa: SLF001 - it has no public side

    async def send(self, call: HTTPCall, edited: bytes | None) -> AiohttpReceived:
        """Send a call as it came, or with another body.

        Raises:
            ModelUnavailableError: What came is no HTTP.
            aiohttp.ClientError: Whatever else went wrong on the way.
        """
        request = call.original
        headers = _headers(request.headers.raw)
        if edited is not None:
            headers.popall("content-length", None)
        coding = headers.get("accept-encoding")
        if coding is not None:
            headers["accept-encoding"] = _supported(coding)
        url = URL(call.url, encoded=True)
        if url.raw_user is not None:
            url = url.with_user(None)
        timeout = request.extensions.get("timeout") or {}
        pool = self._sessions.known() or await self._sessions.pool()
        if (drained := pool.drains.next()) is not None:
            await drained
        body = (call.body if edited is None else edited) or None
        options: dict[str, Any] = {
            "headers": headers,
            "timeout": _timeout(timeout.get("connect"), timeout.get("pool")),
            "skip_auto_headers": NOT_ADDED,
            "allow_redirects": False,
        }
        try:
            response = await send(pool.session, call.method, url, body, **options)
        except aiohttp.ClientResponseError as exc:
            raise_clean(exc)
        return AiohttpReceived(response, pool)

    async def aclose(self) -> None:
        """Close the running loop's pool."""
        await self._sessions.aclose()


class _Sessions(Sessions):
    """Sessions that connect as a pool of httpcore would, and that nobody need close, as there."""

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self._pool = pool
        weakref.finalize(self, _close_soon, self._pools).atexit = False

    def _make_connector(self) -> aiohttp.BaseConnector:
        own = vars(self._pool)
        limit, expiry = own["_max_connections"], own["_keepalive_expiry"]
        more: dict[str, Any] = {"ssl": own["_ssl_context"]} if own["_ssl_context"] is not None else {}
        if own["_socket_options"]:
            more["socket_factory"] = _sockets(list(own["_socket_options"]))
        return aiohttp.TCPConnector(
            limit=limit if limit < UNLIMITED else 0,
            keepalive_timeout=KEEPALIVE_SECONDS if expiry is None else expiry,
            **more,
        )


def _close_soon(pools: dict[asyncio.AbstractEventLoop, tuple[Pool, AsyncGenerator[None, None]]]) -> None:
    """Close the pools of a client that was dropped, each in its loop; until then they are held on to here."""
    while pools:
        loop, (_, guard) = pools.popitem()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_close, loop, guard)


def _close(loop: asyncio.AbstractEventLoop, guard: AsyncGenerator[None, None]) -> None:
    closing = loop.create_task(_closing(guard))
    _closings.add(closing)
    closing.add_done_callback(_closings.discard)


async def _closing(guard: AsyncGenerator[None, None]) -> None:
    await guard.aclose()


_closings: set[asyncio.Task[None]] = set()


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> CIMultiDict[str]:
    """As aiohttp writes them into the same bytes again, which are UTF-8; what is none it must not refuse."""
    try:
        return CIMultiDict([(name.decode(), value.decode()) for name, value in raw])
    except UnicodeDecodeError:
        return CIMultiDict([(_text(name), _text(value)) for name, value in raw])


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _sockets(options: list[Any]) -> Any:
    def make(address: Any) -> socket.socket:
        family, kind, proto, *_ = address
        made = socket.socket(family, kind, proto)
        for option in options:
            made.setsockopt(*option)
        return made

    return make


@lru_cache(64)
def _timeout(connect: float | None, pool: float | None) -> aiohttp.ClientTimeout:
    both = None if connect is None or pool is None else connect + pool
    return aiohttp.ClientTimeout(total=None, connect=both, sock_connect=connect)


@lru_cache(64)
def _supported(codings: str) -> str:
    """What can be decompressed, of what the client would have."""
    from aiohttp import compression_utils  # noqa: PLC0415 - it says so itself

    missing = {
        name
        for name, flag in (("br", "HAS_BROTLI"), ("zstd", "HAS_ZSTD"))
        if not getattr(compression_utils, flag, False)
    }
    return ", ".join(part for part in codings.split(", ") if part not in missing)
