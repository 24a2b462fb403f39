"""`ResilientMiddleware`: the stages as a client middleware of aiohttp, around each request that a session sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Unpack

import aiohttp
import attrs
from aiohttp.payload import BytesPayload

from resilient_llm.errors import LLMError, ModelTimeoutError
from resilient_llm.pipeline import Pipeline
from resilient_llm.transports.reading import raise_clean

from .aiohttp_answers import ObservedReader, RefusedResponse, SessionReceived, failure_of
from .client_stack import Pipelines, client_stack
from .http_backend import HTTPBackend, call_of, request_of
from .observed_body import wire_info
from .own_errors import OwnError
from .refusals import as_ours, refusal_of, signed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence
    from typing import TypeAlias

    from resilient_llm.http_call import HTTPCall
    from resilient_llm.pipeline import Middleware
    from resilient_llm.request import Request
    from resilient_llm.stages import StackOptions

    from .observed_body import Received

    Handler: TypeAlias = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]

REPEATED_BY_SESSIONS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods that a session sends again by itself where a connection broke."""


@attrs.define
class _Exchange:
    """A request of a session, and what sends it."""

    request: aiohttp.ClientRequest = attrs.field(repr=False)
    handler: Handler
    body: bytes | None = attrs.field(repr=False)

    @property
    def headers(self) -> MutableMapping[str, str]:
        """The request's."""
        return self.request.headers

    async def send(self, body: bytes | None) -> aiohttp.ClientResponse:
        """Send it, with another body if there is one."""
        body = self.body if body is None else body
        if body is not None and body != self._current():
            await self.request.update_body(body)
        try:
            return await self.handler(self.request)
        except aiohttp.ClientResponseError as exc:
            raise_clean(exc)
        except TimeoutError as exc:
            if getattr(self.request._timer, "_cancelled", False):  # noqa: SLF001 - the exception does not tell
                msg = "the session's total timeout has passed"
                raise ModelTimeoutError(msg, retryable=False, backend_fault=False) from exc
            raise

    def _current(self) -> bytes | None:
        body = self.request.body
        return body if isinstance(body, bytes) else getattr(body, "_value", None)


class ResilientMiddleware:
    """Sends through a stack of stages: `aiohttp.ClientSession(middlewares=[rl.ResilientMiddleware()])`.

    What kind of call a request is, its path and body say: chats, messages, responses and embeddings are understood
    whatever the host. It belongs last in the list: what stands before it (authentication) acts once for each call,
    what stands behind it once for each attempt. The session's time limits go on holding; its `total` is for the call
    with all its attempts. Requests whose body is a file, a form or a generator are sent once. Not looked at are
    WebSockets, and sessions made with `auto_decompress=False`.

    Args:
        middleware: Stages of one's own, outermost first; default: `standard_stack(**options)`, one for each host.
        name: The backend's name for errors.
        options: The options of `standard_stack`; see `StackOptions`.

    Raises:
        TypeError: An option that does not exist, or one beside a stack of one's own.
    """

    def __init__(
        self,
        *,
        middleware: Sequence[Middleware] | None = None,
        name: str = "http",
        **options: Unpack[StackOptions],
    ) -> None:
        self._backend = backend = HTTPBackend(_send, name)
        self._pipelines = Pipelines(
            lambda: Pipeline(client_stack(middleware, options, backend=backend), backend),
            shared=middleware is not None,
        )

    def __repr__(self) -> str:
        """The name."""
        return f"<ResilientMiddleware {self._backend.name}>"

    async def __call__(self, request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        """Answer once the first content is there, with bytes that are observed on their way."""
        if "upgrade" in request.headers or not request.session._auto_decompress:  # noqa: SLF001 - nobody tells
            return await handler(request)
        asked = await _asked(request, handler)
        try:
            response = await self._pipelines.of(request.url.authority)(asked)
        except Exception as exc:  # noqa: BLE001 - what is none of ours is raised again
            return self._refused(request, call_of(asked), exc)
        info = wire_info(response)
        head: aiohttp.ClientResponse = info.received.head  # type: ignore[attr-defined] # one of ours
        head.content = ObservedReader(response, info)
        return head

    async def aclose(self) -> None:
        """Close the stages."""
        await self._pipelines.aclose()

    def _refused(
        self, request: aiohttp.ClientRequest, call: HTTPCall, exc: Exception
    ) -> aiohttp.ClientResponse:
        """The error as an answer, or aiohttp's exception where there is none."""
        if isinstance(exc, OwnError):
            exc.unwrap()
        error = as_ours(exc, self._backend.name)
        if not isinstance(error, LLMError):
            raise exc
        refusal = refusal_of(error, call)
        if refusal is not None:
            return RefusedResponse(request, refusal, error)
        made = failure_of(error)
        again = isinstance(made, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError)
        if (
            again
            and not isinstance(made, aiohttp.ClientConnectorError)
            and request.method in REPEATED_BY_SESSIONS
            and request.session._retry_connection  # noqa: SLF001 - it has no public side
        ):
            made = signed(aiohttp.ClientConnectionError(str(made)), error)  # which no session repeats
        raise made from error


async def _send(call: HTTPCall, edited: bytes | None) -> Received:
    return SessionReceived(await call.original.send(edited))


async def _asked(request: aiohttp.ClientRequest, handler: Handler) -> Request:
    payload: Any = request.body
    body: bytes | None = None
    if isinstance(payload, BytesPayload):
        body = await payload.as_bytes()
    elif payload == b"":
        body = b""
    return request_of(
        request.method,
        str(request.url),
        request.url.path,
        request.headers,
        body,
        original=_Exchange(request, handler, body),
        read_timeout=None,
    )
