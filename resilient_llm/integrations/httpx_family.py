"""What httpx and httpx2 share: one API, in two modules whose classes do not know each other."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import attrs

from resilient_llm.errors import LLMError
from resilient_llm.outcome import ABANDONED
from resilient_llm.transports.drains import DRAIN_SECONDS

from .refusals import TIMEOUTS, causes, signed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from resilient_llm.response import Response

    from .observed_body import WireInfo

DECODED: Final = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that are no longer true of a body that was decompressed."""

HTTPRequest: TypeAlias = Any
HTTPResponse: TypeAlias = Any
"""A request or a response of either module."""


class Exceptions(Protocol):
    """The exceptions of a wrapped client."""

    def status(self, response: HTTPResponse, /) -> Exception | None:
        """For a status of 400 and above; None if the client makes no difference between answers."""
        ...

    def failure(self, request: HTTPRequest, error: LLMError, /) -> Exception:
        """No usable answer came, or none in time."""
        ...

    raised_below: bool
    """May an exception of the client be raised below it? Else it is raised where it looks at the status."""


@attrs.frozen
class Family:
    """One of the two modules.

    Args:
        module: `httpx` or `httpx2`.
        relay: A stream of its kind that hands on the bytes of a response.
        refusal: A response of its kind that raises what its client would raise.
        cookies: Cookies of its kind that look only at answers which set some.
    """

    module: Any
    relay: Callable[..., Any]
    refusal: Callable[..., Any]
    cookies: type[Any]

    def with_body(self, request: HTTPRequest, content: bytes) -> HTTPRequest:
        """A request with other content."""
        headers = request.headers.copy()
        headers.pop("content-length", None)
        return self.module.Request(
            request.method, request.url, headers=headers, content=content, extensions=request.extensions
        )


def family_of(thing: object) -> Family:
    """The module that a request or a client belongs to; one of a subclass's, to the one that it is based on.

    Raises:
        TypeError: To neither.
    """
    for kind in type(thing).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in {"httpx", "httpx2"}:
            return _family(name)
    msg = f"{type(thing).__name__} belongs to neither httpx nor httpx2"
    raise TypeError(msg)


@cache
def _family(name: str) -> Family:
    module = sys.modules[name]
    relay = type("Relay", (_Relay, module.AsyncByteStream), {})
    refusal = type("RefusedResponse", (_Refused, module.Response), {"broken": (module.HTTPError,)})
    cookies = type("Cookies", (_Cookies, module.Cookies), {})
    return Family(module, relay, refusal, cookies)


class HttpxReceived:
    """An answer that one of the modules is receiving.

    Args:
        head: Its response, the body unread.
        family: Which module.
    """

    def __init__(self, head: HTTPResponse, family: Family) -> None:
        self.broken: tuple[type[Exception], ...] = (family.module.HTTPError,)
        self.status: int = head.status_code
        self.head = head
        self.headers: Mapping[str, str] = head.headers
        if "content-encoding" in head.headers:
            self._pieces = head.aiter_bytes()
            self.headers = decoded(head.headers)
        else:
            self._pieces = head.stream.__aiter__()
        self._closed = False

    async def read(self) -> bytes:
        """The next bytes, decompressed; at the end the connection is given back."""
        async for piece in self._pieces:
            if piece:
                return piece  # type: ignore[no-any-return]
        if not self._closed:
            self._closed = True
            await self.head.aclose()
        return b""

    def close(self, *, complete: bool) -> asyncio.Task[None] | None:
        """Close it in a task, for neither module can do so otherwise."""
        if self._closed:
            return None
        self._closed = True
        return asyncio.get_running_loop().create_task(self._let_go(complete=complete))

    async def _let_go(self, *, complete: bool) -> None:
        with contextlib.suppress(*self.broken, TimeoutError):
            if complete:
                async with asyncio.timeout(DRAIN_SECONDS):
                    async for _ in self._pieces:
                        pass
            if hasattr(self._pieces, "aclose"):
                await self._pieces.aclose()
        await self.head.aclose()


def decoded(headers: Any) -> Any:
    """Headers of a body that was decompressed."""
    headers = headers.copy()
    for name in DECODED:
        headers.pop(name, None)
    return headers


def as_sent(headers: Mapping[str, str]) -> Any:
    """Headers for a response of either module: as bytes, for these take no text but ASCII, and servers send more."""
    if hasattr(headers, "multi_items"):  # the module's own
        return headers
    return [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers.items()]


class _Relay:
    """The bytes of a committed response, each read of them observed by the stages."""

    def __init__(
        self, request: HTTPRequest, response: Response, info: WireInfo, exceptions: Exceptions
    ) -> None:
        self._request = request
        self._response = response
        self._info = info
        self._exceptions = exceptions

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks, response = self._info.chunks, self._response
        try:
            while True:
                while chunks:
                    yield chunks.popleft()
                if response.outcome is not None:
                    return
                await response.receive(once=True)
        except LLMError as error:
            raise signed(self._exceptions.failure(self._request, error), error) from error

    async def aclose(self) -> None:
        """End the response; one that was left early has let go of its connection when this returns."""
        self._response.close()
        if self._response.outcome is ABANDONED and self._info.closing is not None:
            await asyncio.wait({self._info.closing})


class _Refused:
    """An answer whose status is an error.

    Event hooks, authentication and redirects see it as any other. Where its client looks whether it is one
    (`raise_for_status`, `is_success`) the client's own exception is raised with our error on it, so that the client
    does not come to retrying.
    """

    llm_error: LLMError
    broken: tuple[type[Exception], ...]
    made: Exception | None = None

    def raise_for_status(self) -> Any:
        """Raise the client's exception."""
        if self.made is not None:
            raise signed(self.made, self.llm_error) from self.llm_error
        try:
            return super().raise_for_status()  # type: ignore[misc]
        except self.broken as exc:
            raise signed(exc, self.llm_error) from self.llm_error

    @property
    def is_success(self) -> bool:
        """It is none."""
        if self.made is not None:
            raise signed(self.made, self.llm_error) from self.llm_error
        return False


class _Cookies:
    """Both modules make a request of urllib's out of each answer, to ask the jar; few backends set a cookie."""

    def extract_cookies(self, response: HTTPResponse) -> None:
        if "set-cookie" in response.headers or "set-cookie2" in response.headers:
            super().extract_cookies(response)  # type: ignore[misc]


class HttpxExceptions:
    """The exceptions of a plain client of httpx or httpx2."""

    raised_below = True

    def status(self, response: HTTPResponse) -> None:
        """An answer is an answer, until somebody asks it to raise for its status."""

    def failure(self, request: HTTPRequest, error: LLMError) -> Exception:
        """What the library raised; else what it would have raised."""
        module = family_of(request).module
        for cause in causes(error):
            if isinstance(cause, Exception) and isinstance(cause, module.TransportError):
                return cause
        if error.code in TIMEOUTS:
            kind = module.ReadTimeout
        elif error.code == "MODEL_RESPONSE_INVALID":
            kind = module.RemoteProtocolError
        else:
            kind = module.ConnectError
        made: Exception = kind(str(error), request=request)
        return made
