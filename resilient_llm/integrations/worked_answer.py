"""An answer that a sync transport of httpx or httpx2 is receiving, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

from resilient_llm.transports.drains import DRAIN_SECONDS

from .httpx_family import decoded
from .observed_body import is_in_events
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .httpx_family import Family, HTTPRequest, HTTPResponse

BATCH_BYTES: Final = 1024 * 1024
"""How much of a whole answer is read at once."""


class WorkedReceived:
    """An answer that a sync transport is receiving, in a thread of its own.

    Args:
        family: Which module.
        streamed: Hand on each read as it comes, instead of the whole.
    """

    head: HTTPResponse = None
    status: int
    headers: Mapping[str, str]

    def __init__(self, family: Family, *, streamed: bool) -> None:
        self.broken: tuple[type[Exception], ...] = (family.module.HTTPError,)
        self._batch = 1 if streamed else BATCH_BYTES
        self._ended = False
        self._closed = False
        self._first = b""
        self._failure: Exception | None = None
        self._busy: asyncio.Future[Any] | None = None
        self._worker = Worker()

    async def open(self, transport: Any, request: HTTPRequest) -> WorkedReceived:
        """Send, and wait for the head, and for the first bytes of an answer that is read as a whole."""
        try:
            self._busy = self._worker.begin(lambda: self._open(transport, request))
            await self._busy
        except BaseException:
            self.close(complete=False)
            raise
        return self

    async def read(self) -> bytes:
        """The next bytes, decompressed."""
        if self._failure is not None:
            raise self._failure
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._ended:
            return b""
        self._busy = reading = self._worker.begin(self._read)
        return await reading

    def close(self, *, complete: bool) -> asyncio.Task[None] | None:
        """Close it behind whatever the thread does now."""
        if self._closed:
            return None
        self._closed = True
        if self._busy is not None and self._busy.cancelled() and self.head is not None:
            _wake(self.head)
        closing = None if self._ended else self._worker.begin(lambda: self._let_go(complete=complete))
        self._worker.end()
        return None if closing is None else asyncio.get_running_loop().create_task(self._patiently(closing))

    async def _patiently(self, closing: asyncio.Future[None]) -> None:
        """Wait for the thread; one that a server holds up, because it does not end its body, is woken."""
        await asyncio.wait({closing}, timeout=DRAIN_SECONDS)
        if not closing.done() and self.head is not None:
            _wake(self.head)

    # In the thread ...

    def _open(self, transport: Any, request: HTTPRequest) -> None:
        head = self.head = transport.handle_request(request)
        self.status = head.status_code
        self.headers = head.headers
        if is_in_events(head.headers):
            self._batch = 1
        if "content-encoding" in head.headers:
            self._pieces = head.iter_bytes()
            self.headers = decoded(head.headers)
        else:
            self._pieces = iter(head.stream)
        if self._batch > 1 and self.status < 400:
            try:
                self._first = self._read()
            except self.broken as exc:
                self._failure = exc

    def _read(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for piece in self._pieces:
            pieces.append(piece)
            size += len(piece)
            if size >= self._batch:
                return b"".join(pieces)
        self._ended = True
        self.head.close()
        return b"".join(pieces)

    def _let_go(self, *, complete: bool) -> None:
        if self.head is None or self._ended:
            return
        with contextlib.suppress(*self.broken):
            if complete:
                for _ in self._pieces:
                    pass
            elif hasattr(self._pieces, "close"):
                self._pieces.close()
        self.head.close()


def _wake(head: HTTPResponse) -> None:
    """Have a read end that nobody waits for any more; where others read from the same socket it is left alone."""
    extensions = head.extensions
    stream = extensions.get("network_stream")
    if stream is None or extensions.get("http_version") == b"HTTP/2":
        return
    if isinstance(sock := stream.get_extra_info("socket"), socket.socket):
        with contextlib.suppress(OSError):  # it is closed already
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # and not its subclass's, which forgets its TLS
