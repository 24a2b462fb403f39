"""What a session of aiohttp gets back: answers whose bytes are observed while they are read, and refusals."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aiohttp.helpers import TimerNoop
from multidict import CIMultiDict, CIMultiDictProxy

from resilient_llm.errors import LLMError
from resilient_llm.transports.drains import DRAIN_SECONDS
from resilient_llm.transports.reading import next_read

from .refusals import TIMEOUTS, Refusal, causes, signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_llm.response import Response

    from .observed_body import WireInfo

UNBOUND: Final = 1 << 62
"""The reader asks for bytes when it is asked for them: its buffer holds one read."""


class SessionReceived:
    """An answer that a session is receiving.

    Args:
        head: Its response, the body unread.
    """

    broken: tuple[type[Exception], ...] = (aiohttp.ClientError,)

    def __init__(self, head: aiohttp.ClientResponse) -> None:
        self.head = head
        self.status: int = head.status
        self.headers: Mapping[str, str] = head.headers
        self._content = head.content

    async def read(self) -> bytes:
        """The next read; see `next_read`."""
        return await next_read(self._content)

    def close(self, *, complete: bool) -> asyncio.Task[None] | None:
        """Drop it at once; a complete one gives its connection back at the end of the body."""
        if self.head.closed:
            return None
        if complete:
            return asyncio.get_running_loop().create_task(self._drain())
        self._drop()
        return None

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while await self._content.readany():
                    pass
        except (aiohttp.ClientError, TimeoutError):
            self._drop()

    def _drop(self) -> None:
        """Close the connection, but not what the user reads: a replay may go on there."""
        head = self.head
        shown, head.content = head.content, self._content
        head.close()
        head.content, head._released = shown, False  # noqa: SLF001 - so that leaving it is heard of


class _Undisturbed(BaseProtocol):
    """Stands where a reader looks for its connection, of which it need know nothing."""

    def pause_reading(self) -> None:
        """There is nothing to hold up."""

    def resume_reading(self, *_: object, **__: object) -> None:
        """Nor to let go on."""


class ObservedReader(aiohttp.StreamReader):
    """The bytes of a committed response, each read of them observed by the stages.

    Args:
        response: The response.
        info: What is known of it, with the bytes that are here.
    """

    def __init__(self, response: Response, info: WireInfo) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(_Undisturbed(loop), UNBOUND, loop=loop)
        self._response = response
        self._info = info
        if response.outcome is not None:
            self._take()
            self.feed_eof()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Also what a response does that is released or closed: nobody reads on."""
        super().set_exception(exc, exc if exc_cause is None else exc_cause)
        self._response.close()

    async def _wait(self, func_name: str) -> None:  # noqa: ARG002 - a method of aiohttp's
        """Wait for bytes: aiohttp's would wait for a connection that feeds it."""
        while not self._take():
            if self._response.outcome is not None:
                if self._info.closing is not None:
                    await asyncio.wait({self._info.closing})
                self.feed_eof()
                return
            try:
                await self._response.receive(once=True)
            except LLMError as error:
                self._break(error)

    def _take(self) -> bool:
        chunks = self._info.chunks
        taken = bool(chunks)
        while chunks:
            self.feed_data(chunks.popleft())
        return taken

    def _break(self, error: LLMError) -> NoReturn:
        broken = failure_of(error)
        broken.__cause__ = broken.__cause__ or error
        self.set_exception(broken)
        raise broken


class RefusedResponse(aiohttp.ClientResponse):
    """An answer whose status is an error, all of it here; `raise_for_status` puts our error on what it raises.

    Args:
        request: What was asked.
        refusal: Status, headers and body.
        error: Our error.
    """

    def __init__(  # the original's arguments are not the same in all versions of aiohttp
        self, request: aiohttp.ClientRequest, refusal: Refusal, error: LLMError
    ) -> None:
        loop = asyncio.get_running_loop()
        self.llm_error = error
        self.method = request.method
        self._real_url = request.original_url
        self._url = request.url
        self._request_info = request.request_info
        self._timer = TimerNoop()
        self._cache: dict[str, Any] = {}
        self._traces = []
        self._loop = loop
        self._resolve_charset = cast("Any", request.session)._resolve_charset  # noqa: SLF001 - as it does
        self.version = aiohttp.HttpVersion11
        self.status = refusal.status
        self.reason = _phrase(refusal.status)
        self._headers = CIMultiDictProxy(CIMultiDict(refusal.headers))
        self._raw_headers = tuple(
            (name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in self._headers.items()
        )
        self._body = refusal.body
        content = self.content = aiohttp.StreamReader(_Undisturbed(loop), UNBOUND, loop=loop)
        content.feed_data(refusal.body)
        content.feed_eof()

    def raise_for_status(self) -> None:
        """Raise aiohttp's own exception."""
        try:
            super().raise_for_status()
        except aiohttp.ClientResponseError as exc:
            raise signed(exc, self.llm_error) from self.llm_error


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def failure_of(error: LLMError) -> Exception:
    """What aiohttp raised, where it did; else what it would have raised, with our error on it."""
    for cause in causes(error):
        if isinstance(cause, aiohttp.ClientError) and not isinstance(cause, aiohttp.ClientResponseError):
            return signed(cause, error)
    if error.code in TIMEOUTS:
        return signed(aiohttp.ServerTimeoutError(str(error)), error)
    if error.code == "MODEL_RESPONSE_INVALID":
        return signed(aiohttp.ClientPayloadError(str(error)), error)
    return signed(aiohttp.ClientConnectionError(str(error)), error)
