"""`ResilientTransport`: the stages as a transport of httpx and httpx2, around each request that a client sends."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

from resilient_llm.errors import LLMError
from resilient_llm.pipeline import Pipeline

from .client_stack import Pipelines, client_stack
from .http_backend import HTTPBackend, call_of, request_of
from .httpx_family import Exceptions, HttpxExceptions, as_sent, family_of
from .httpx_sender import HttpxSender
from .observed_body import wire_info
from .own_errors import OwnError
from .refusals import as_ours, refusal_of, signed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import TypeAlias

    from resilient_llm.http_call import HTTPCall
    from resilient_llm.models import Request
    from resilient_llm.pipeline import Middleware
    from resilient_llm.stages import StackOptions

    from .httpx_blocking import BlockingCalls
    from .httpx_family import Family, HTTPRequest, HTTPResponse
    from .observed_body import WireInfo

    Base: TypeAlias = Any
else:
    Base = object

SDK_RETRIES = "x-stainless-retry-count"
"""The header in which an SDK that retries by itself says how often it did so."""

_given_up: ContextVar[LLMError | None] = ContextVar("given_up", default=None)


class ResilientTransport(Base):  # type: ignore[misc] # a base class of either module would load it
    """Sends through a stack of stages: `httpx.AsyncClient(transport=rl.ResilientTransport())`, or httpx2's.

    Sync clients take it, too: the stages then run in a thread of the transport's, and the caller waits.

    What kind of call a request is, its path and body say: chats, messages, responses and embeddings are understood
    whatever the host. The client's own read timeout bounds each attempt. Requests whose body is a file or a
    generator are sent once. Each host has a standard stack of its own, with circuits and limits for each model.

    Args:
        transport: What sends in the end; closed with this one. Default: the library's own. Where it is that one,
            without proxy and HTTP/2, aiohttp sends in its place, with its certificates.
        middleware: Stages of one's own, outermost first; default: `standard_stack(**options)`.
        name: The backend's name for errors.
        exceptions: What is raised for answers that do not come; default: the library's own exceptions.
        options: The options of `standard_stack`; see `StackOptions`.

    Raises:
        TypeError: An option that does not exist, or one beside a stack of one's own.
    """

    def __init__(
        self,
        transport: Any = None,
        *,
        middleware: Sequence[Middleware] | None = None,
        name: str = "http",
        exceptions: Exceptions | None = None,
        **options: Unpack[StackOptions],
    ) -> None:
        self.transport = transport
        self._sender = HttpxSender(getattr(transport, "transport_for", self._choose))
        self._exceptions = exceptions or HttpxExceptions()
        self._backend = HTTPBackend(self._sender.send, name)

        def pipelines(backend: HTTPBackend) -> Pipelines:
            return Pipelines(
                lambda: Pipeline(client_stack(middleware, options, backend=backend), backend),
                shared=middleware is not None,
            )

        self._pipelines = pipelines(self._backend)
        self._make_pipelines = pipelines

    def __repr__(self) -> str:
        """The name."""
        return f"<ResilientTransport {self._backend.name}>"

    async def handle_async_request(self, request: HTTPRequest) -> HTTPResponse:
        """Answer once the first content is there, with bytes that are observed on their way."""
        family = family_of(request)
        asked = _asked(request, family)
        if (error := _repeated(request)) is not None:
            return self._refused(family, request, call_of(asked), error)
        try:
            response = await self._pipelines.of(request.url.netloc)(asked)
        except Exception as exc:  # noqa: BLE001 - what is none of ours is raised again
            return self._given_up(family, request, asked, exc)
        info = wire_info(response)
        if response.outcome is None:
            return _answered(family, info, family.relay(request, response, info, self._exceptions))
        return _answered(family, info, family.module.ByteStream(b"".join(info.chunks)))

    def handle_request(self, request: HTTPRequest) -> HTTPResponse:
        """The same for a sync client: the stages run in a thread of this transport's, and the caller waits."""
        family = family_of(request)
        asked = _asked(request, family)
        if (error := _repeated(request)) is not None:
            return self._refused(family, request, call_of(asked), error)
        calls = self._blocking()
        try:
            info, stream = calls.send(asked, self._exceptions)
        except Exception as exc:  # noqa: BLE001 - what is none of ours is raised again
            return self._given_up(family, request, asked, exc)
        return _answered(family, info, stream)

    async def aclose(self) -> None:
        """Close the stages, let the answers that are being closed finish, then close the transport below."""
        try:
            await self._pipelines.aclose()
        finally:
            await self._sender.aclose()
            if self.transport is not None:
                await self.transport.aclose()

    def close(self) -> None:
        """The same for a sync client."""
        if "_calls" in self.__dict__:
            self._blocking().close()
        elif self.transport is not None:
            self.transport.close()

    def __enter__(self) -> Self:
        """The same for a sync client."""
        if self.transport is not None:
            self.transport.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        exc: BaseException | None = None,
        tb: TracebackType | None = None,
    ) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """The transport itself; the one below is entered, too."""
        if self.transport is not None:
            await self.transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        exc: BaseException | None = None,
        tb: TracebackType | None = None,
    ) -> None:
        """Close it."""
        await self.aclose()

    def _choose(self, request: HTTPRequest) -> Any:
        if self.transport is None:
            self.transport = family_of(request).module.AsyncHTTPTransport()
        return self.transport

    def _blocking(self) -> BlockingCalls:
        if "_calls" not in self.__dict__:
            from .httpx_blocking import BlockingCalls  # noqa: PLC0415 - only sync clients need threads

            made = BlockingCalls(self._make_pipelines, self._backend.name, self.transport)
            self.__dict__.setdefault("_calls", made)  # of two threads one is first
        return cast("BlockingCalls", self.__dict__["_calls"])

    def _given_up(self, family: Family, request: HTTPRequest, asked: Request, exc: Exception) -> HTTPResponse:
        if isinstance(exc, OwnError):
            exc.unwrap()
        error = as_ours(exc, self._backend.name)
        if not isinstance(error, LLMError):
            raise exc
        if SDK_RETRIES in request.headers:
            _given_up.set(error)
        return self._refused(family, request, call_of(asked), error)

    def _refused(self, family: Family, request: HTTPRequest, call: HTTPCall, error: LLMError) -> HTTPResponse:
        """The error as an answer, or the client's exception where there is none."""
        refusal = refusal_of(error, call)
        made: Exception | None = None
        if refusal is None:
            made = self._exceptions.failure(request, error)
            if self._exceptions.raised_below:
                raise signed(made, error) from error
            response = family.refusal(503, headers={"x-should-retry": "false"}, content=b"")
        else:
            headers = dict(refusal.headers)
            if SDK_RETRIES in request.headers:
                headers["x-should-retry"] = "false"
            response = family.refusal(refusal.status, headers=as_sent(headers), content=refusal.body)
        response.request = request
        response.extensions["llm_error"] = response.llm_error = error
        response.made = made or self._exceptions.status(response)
        return response


def _repeated(request: HTTPRequest) -> LLMError | None:
    """The error that a client has had already, if it now retries by itself."""
    return _given_up.get() if request.headers.get(SDK_RETRIES, "0") != "0" else None


def _asked(request: HTTPRequest, family: Family) -> Request:
    plain = isinstance(request.stream, family.module.ByteStream)
    timeout = request.extensions.get("timeout") or {}
    return request_of(
        request.method,
        str(request.url),
        request.url.path,
        request.headers,
        b"".join(request.stream) if plain else None,
        original=request,
        read_timeout=timeout.get("read"),
    )


def _answered(family: Family, info: WireInfo, stream: Any) -> HTTPResponse:
    extensions = getattr(getattr(info.received, "head", None), "extensions", {})
    return family.module.Response(
        info.status, headers=as_sent(info.headers), stream=stream, extensions=extensions
    )
