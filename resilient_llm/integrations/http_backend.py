"""The pipeline's last handler for calls that came over HTTP: bytes out, and bytes in that are observed on their way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import attrs

from resilient_llm.commit import commit
from resilient_llm.errors import BackendFailure
from resilient_llm.http_call import HTTPCall
from resilient_llm.request import Extensions, Request
from resilient_llm.transports.reading import ERROR_BODY_SECONDS

from .dialects import understand
from .dialects.whole import OpaqueDecoder
from .observed_body import Bodies, ObservedBody, WireInfo, is_in_events
from .own_errors import judged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any, TypeAlias

    from resilient_llm.errors import LLMError
    from resilient_llm.response import Response

    from .observed_body import Received

    Sender: TypeAlias = Callable[[HTTPCall, bytes | None], Awaitable[Received]]
    """Sends a call as it came, or with another body; answers as soon as the head is there."""

MAX_ERROR_BYTES: Final = 1024 * 1024
DEFAULT_READ_SECONDS: Final = 600.0
"""What the SDKs set where their user set nothing; then the stack's own limits hold."""
REQUEST_IDS: Final = ("x-request-id", "request-id", "apim-request-id")
UNSENT: Final = frozenset(
    {"ConnectError", "ConnectTimeout", "PoolTimeout", "ClientConnectorError", "ConnectionTimeoutError"}
)
"""Exceptions of libraries that say that no connection was made."""


def request_of(
    method: str,
    url: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    original: Any,
    read_timeout: float | None,
) -> Request:
    """The request that stages see.

    Args:
        method: In capitals.
        url: All of it.
        path: The URL's path alone.
        headers: Looked up in lower case.
        body: None if it can be sent once only.
        original: The request as the client's library has it.
        read_timeout: Seconds that the client gives its server; they become the limits of each attempt.
    """
    asked = understand(method, path, headers, body)
    call = HTTPCall(method, url, path, headers, body, original, asked)
    extensions = Extensions(http_call=call, tool_deltas=True)
    if not asked.understood or read_timeout not in {None, DEFAULT_READ_SECONDS}:
        extensions["attempt_timeout"] = read_timeout
        extensions["first_token_timeout"] = extensions["idle_timeout"] = read_timeout
    return Request(
        asked.operation, asked.messages, asked.model, asked.stream, asked.params, extensions=extensions
    )


def call_of(request: Request) -> HTTPCall:
    """The call that a request came from.

    Raises:
        TypeError: A stage made up a request, which nobody knows how to send.
    """
    call = request.extensions.get("http_call")
    if call is None:
        msg = "a stage passed on a request of its own: change the one it was given with attrs.evolve"
        raise TypeError(msg)
    return call


class HTTPBackend:
    """Sends calls, and reads their answers up to the commit.

    Args:
        send: Sends one.
        name: The backend's name for errors.
    """

    def __init__(self, send: Sender, name: str) -> None:
        self.name = name
        self._send = send
        self._bodies = Bodies()
        self._inherited: list[Bodies] = []

    def __repr__(self) -> str:
        """The name."""
        return f"<HTTPBackend {self.name}>"

    async def __call__(self, request: Request) -> Response:
        """Send, and read up to the commit. Raises `BackendFailure`, or what the library raises."""
        call = call_of(request)
        if call.asked.repeatable:
            return await self._answer(call, request)
        try:
            return await self._answer(call, request)
        except Exception as exc:
            if call.body is not None and _unsent(exc):
                raise
            error = self._unrepeatable(exc)
            if error is exc:
                raise
            raise error from exc

    async def aclose(self) -> None:
        """Wait for the answers that are being closed."""
        await self._bodies.aclose()

    def renew(self) -> None:
        """In a forked child: leave the answers alone that the parent is receiving, and never let go of them."""
        self._inherited.append(self._bodies)
        self._bodies = Bodies()

    async def _answer(self, call: HTTPCall, request: Request) -> Response:
        if (sending := request.extensions.get("sending")) is not None:
            call.original.headers.update(sending(call.url))
        received = await self._sent(call, call.asked.edited(request))
        if received.status >= 400:
            raise await self._refused(received)
        headers = received.headers
        info = WireInfo(
            backend=self.name,
            request_id=next((headers[name] for name in REQUEST_IDS if name in headers), None),
            status=received.status,
            headers=headers,
            received=received,
        )
        if not (request.stream or call.asked.understood) and is_in_events(headers):
            request = attrs.evolve(request, stream=True)  # of a GET or a form only the answer tells
        decoder = call.asked.decoder if received.status == 200 else OpaqueDecoder
        return await commit(ObservedBody(info, decoder, self._bodies), request)

    async def _sent(self, call: HTTPCall, edited: bytes | None) -> Received:
        """What somebody's own transport raises on its own account passes the stages as it is."""
        try:
            return await self._send(call, edited)
        except OSError:
            raise
        except Exception as exc:
            error = judged(exc, self.name)
            if error is exc:
                raise
            raise error from exc

    async def _refused(self, received: Received) -> BackendFailure:
        """What was refused, with as much of its body as comes in time."""
        broken: tuple[type[Exception], ...] = (*received.broken, TimeoutError)
        content = bytearray()
        whole = False
        try:
            async with asyncio.timeout(ERROR_BODY_SECONDS):
                while len(content) < MAX_ERROR_BYTES:
                    piece = await received.read()
                    if not piece:
                        whole = True
                        break
                    content += piece
        except broken:
            pass  # the status says enough
        finally:
            self._bodies.keep(received.close(complete=whole))
        return BackendFailure(received.status, dict(received.headers), bytes(content[:MAX_ERROR_BYTES]))

    def _unrepeatable(self, exc: Exception) -> LLMError:
        """The error that nobody is to retry: what was sent may have had its effect."""
        from resilient_llm.policy.classify_exception import classify_exception  # noqa: PLC0415 - rarely needed

        error = classify_exception(exc, self.name)
        error.retryable = False
        if isinstance(exc, BackendFailure):
            error.answer = exc.answer
        return error


def _unsent(exc: Exception) -> bool:
    return not UNSENT.isdisjoint(kind.__name__ for kind in type(exc).__mro__)
