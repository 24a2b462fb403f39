"""How requests are sent by aiohttp: its own, but made to write a small body itself instead of in a task.

aiohttp writes each body in a task, so that a server may answer before it has read all of it. A body that fits into the
socket's buffers with its head is written at once in any case: the task is all cost, and before Python 3.12 a round of
the event loop, a tenth of a call's CPU time in all.

`ClientRequest.send` is no documented name. If what this one builds on looks different, or anything about a request is
out of the ordinary, aiohttp's own is used.
"""

from __future__ import annotations

from inspect import signature
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from aiohttp import (
    ClientConnectionError,
    ClientConnectionResetError,
    ClientOSError,
    ClientRequest,
    ClientResponse,
    hdrs,
)
from aiohttp.http import StreamWriter

if TYPE_CHECKING:
    from aiohttp import BaseConnector, ClientSession
    from aiohttp.connector import Connection
    from yarl import URL

AT_ONCE: Final = 32 * 1024
"""Bytes; half of what a transport of asyncio buffers before it asks for a pause."""

LARGE: Final = 1024 * 1024
"""Bytes; of more aiohttp warns that they would hold up the event loop."""

_MADE_OF: Final = {
    "self", "method", "url", "writer", "continue100", "timer", "request_info", "traces", "loop", "session",
    "stream_writer",
}  # fmt: skip


class _Request(ClientRequest):
    async def send(self, conn: Connection) -> ClientResponse:
        protocol, body = conn.protocol, self._body
        if (
            protocol is None
            or protocol.writing_paused
            or body is None
            or (body.size or AT_ONCE) >= AT_ONCE
            or self.headers.get(hdrs.CONTENT_LENGTH) != str(body.size)
            or self.proxy
            or self.compress
            or self.chunked
            or self._traces
            or self._continue is not None
            or getattr(self, "_upload_tracker", None) is not None
        ):
            return await super().send(conn)
        writer = StreamWriter(protocol, self.loop)
        await writer.write_headers(f"{self.method} {self.url.raw_path_qs} HTTP/1.1", self.headers)
        try:
            await body.write_with_length(writer, None)
            await writer.write_eof()
        except ClientConnectionError as exc:
            raise ClientOSError(None, "Can not write request body") from exc
        protocol.start_timeout()
        response = self.response_class(
            self.method,
            self.original_url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=self._traces,
            loop=self.loop,
            session=self._session,
            stream_writer=writer,
        )
        self.response = response  # type: ignore[assignment] # aiohttp's own is declared as None
        return response


async def send(
    session: ClientSession, method: str, url: URL, body: bytes | None, **options: Any
) -> ClientResponse:
    """Send a request; once more, if the pooled connection was found closed before a byte was written."""
    try:
        return await session.request(method, url, data=_sendable(body), **options)
    except ClientOSError as exc:
        if not isinstance(exc.__cause__, ClientConnectionResetError):
            raise
    return await session.request(method, url, data=_sendable(body), **options)


def _sendable(body: bytes | None) -> bytes | BytesIO | None:
    """A body as aiohttp takes it without a warning: large ones (pictures) in pieces. For one request each."""
    return body if body is None or len(body) <= LARGE else BytesIO(body)


def request_class(connector: BaseConnector) -> type[ClientRequest]:
    """The class of requests for a session: the one above, where all is as it was written for."""
    fits = signature(ClientResponse.__init__).parameters.keys() == _MADE_OF
    return _Request if fits and not connector.force_close else ClientRequest
