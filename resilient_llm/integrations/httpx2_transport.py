"""The stages as a transport of httpx2: around each request that an HTTP client sends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import httpx2

from resilient_llm.commit import commit
from resilient_llm.errors import BackendFailure, LLMError
from resilient_llm.outcome import ABANDONED
from resilient_llm.pipeline import Pipeline
from resilient_llm.policy.classify_exception import classify_exception
from resilient_llm.wire.openai import ChatStreamDecoder

from .http_call import RefusedByStatus, call_of, parse_request
from .observed_body import Bodies, Decoder, ObservedBody, OpaqueDecoder, WireInfo
from .refusals import Exceptions, fail, refuse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from resilient_llm.models import Request
    from resilient_llm.pipeline import Middleware
    from resilient_llm.response import Response

MAX_ERROR_BYTES: Final = 1024 * 1024
DECODED: Final = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that are no longer true of a body that was decompressed."""


class ResilientTransport(httpx2.AsyncBaseTransport):
    """Sends through a stack of stages, by the transports of another client.

    Requests whose body is read from a file or a generator cannot be repeated; they pass untouched.

    Args:
        http: The client whose transports send in the end; closed with this one.
        middleware: The stages, outermost first.
        name: The backend's name for errors.
        exceptions: What is raised for answers that do not come.
    """

    def __init__(
        self, http: httpx2.AsyncClient, middleware: Sequence[Middleware], *, name: str, exceptions: Exceptions
    ) -> None:
        self._http = http
        self._exceptions = exceptions
        self._backend = HTTPBackend(self._send, name)
        self._pipeline = Pipeline(middleware, self._backend)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer once the first content is there, with bytes that are observed on their way."""
        if not isinstance(request.stream, httpx2.ByteStream):
            return await self._send(request)
        asked = parse_request(request)
        try:
            response = await self._pipeline(asked)
        except (LLMError, BackendFailure) as exc:
            return refuse(call_of(asked), classify_exception(exc, self._backend.name), self._exceptions)
        info = response.info
        if not isinstance(info, WireInfo):
            response.close()
            msg = f"a stage answered {request.url.path} by itself, without an answer over HTTP to hand on"
            raise TypeError(msg)
        stream = _Relay(request, response, info, self._exceptions)
        return httpx2.Response(
            info.head.status_code, headers=_headers(info.head), stream=stream, extensions=info.head.extensions
        )

    async def aclose(self) -> None:
        """Close the stages, let the answers that are being closed finish, then close the client below."""
        try:
            await self._pipeline.aclose()
        finally:
            await self._http.aclose()

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        transport = self._http._transport_for_url(request.url)  # noqa: SLF001 - proxies and mounts are known to it
        return await transport.handle_async_request(request)


class HTTPBackend:
    """The pipeline's last handler: a call over HTTP in, its answer as events and bytes out.

    Args:
        send: Sends one request, and answers as soon as the head is there.
        name: The backend's name for errors.
    """

    def __init__(self, send: Callable[[httpx2.Request], Awaitable[httpx2.Response]], name: str) -> None:
        self.name = name
        self._send = send
        self._bodies = Bodies()

    async def __call__(self, request: Request) -> Response:
        """Send, and read up to the commit. Raises `BackendFailure`, or what `send` raises."""
        call = call_of(request)
        call.failure = None
        try:
            return await self._answer(call.encode(request), request)
        except BackendFailure as failure:
            call.failure = failure
            raise

    async def aclose(self) -> None:
        """Wait for the answers that are being closed."""
        await self._bodies.aclose()

    async def _answer(self, sent: httpx2.Request, request: Request) -> Response:
        head = await self._send(sent)
        if head.status_code >= 400:
            raise await self._refused(head)
        info = WireInfo(
            backend=self.name,
            request_id=head.headers.get("x-request-id"),
            status=head.status_code,
            headers=head.headers,
            head=head,
        )
        chat = (
            request.operation == "chat" and head.status_code == 200 and request.params.get("n") in {None, 1}
        )
        decoder: Decoder = ChatStreamDecoder() if chat else OpaqueDecoder()
        return await commit(ObservedBody(info, decoder, self._bodies), request)

    async def _refused(self, head: httpx2.Response) -> RefusedByStatus:
        content = bytearray()
        try:
            async for piece in head.aiter_bytes():
                content += piece
                if len(content) >= MAX_ERROR_BYTES:
                    break
        except httpx2.HTTPError:
            pass  # the status says enough
        finally:
            await head.aclose()
        return RefusedByStatus(head.status_code, _headers(head), bytes(content[:MAX_ERROR_BYTES]))


class _Relay(httpx2.AsyncByteStream):
    """The bytes of a committed response, each read of them observed by the stages."""

    def __init__(
        self, request: httpx2.Request, response: Response, info: WireInfo, exceptions: Exceptions
    ) -> None:
        self._request = request
        self._response = response
        self._info = info
        self._exceptions = exceptions

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._info.chunks
        try:
            while chunks:
                yield chunks.popleft()
            async for _ in self._response:
                while chunks:
                    yield chunks.popleft()
        except LLMError as error:
            fail(self._request, error, self._exceptions)
        while chunks:
            yield chunks.popleft()

    async def aclose(self) -> None:
        """End the response; one that was left early has let go of its connection when this returns."""
        self._response.close()
        if self._response.outcome is ABANDONED and self._info.closing is not None:
            await asyncio.wait({self._info.closing})


def _headers(head: httpx2.Response) -> httpx2.Headers:
    headers = head.headers.copy()
    if "content-encoding" in headers:
        for name in DECODED:
            headers.pop(name, None)
    return headers
