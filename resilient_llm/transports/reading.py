"""Reading what a server sends, within bounds, and making it fit to be shown."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, NoReturn

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

from resilient_llm.errors import ModelResponseInvalidError, ModelUnavailableError
from resilient_llm.wire.payload import refuse_bushy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

MAX_ERROR_BYTES: Final = 64 * 1024
ERROR_BODY_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 2.0
MAX_CONTAINERS: Final = 4_000_000
"""Objects and lists of an answer: more than 128,000 tokens bring, each with 20 log probabilities."""
MAX_VALUES: Final = 16_000_000
"""More numbers than 2,048 vectors of 3,072 dimensions have, twice over."""

_QUOTATION: Final = re.compile(r"""[\s:]*(?:b|bytearray\(b?)?['"].*""", re.DOTALL)
_NO_HEADERS: Final[CIMultiDictProxy[str]] = CIMultiDictProxy(CIMultiDict())


async def read_whole(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a body, decompressed.

    Raises:
        ModelResponseInvalidError: It is longer than the limit, or says that it will be, and the connection is
            dropped; or it is JSON of too many values.
    """
    if (response.content_length or 0) > limit:
        raise given_up(response, limit)
    content = response.content
    pieces: list[bytes] = []
    size = 0
    try:
        while size <= limit and not content.at_eof():
            piece = await content.readany()
            size += len(piece)
            pieces.append(piece)
    except BaseException:
        response.close()
        raise
    if size > limit:
        raise given_up(response, limit)
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if size > MAX_CONTAINERS:
        refuse_bushy(body, MAX_CONTAINERS, (b"{", b"["))
        refuse_bushy(body, MAX_VALUES, (b",",))
    return body


def given_up(response: aiohttp.ClientResponse, limit: int) -> ModelResponseInvalidError:
    """Drop an answer that is longer than the limit; what to raise."""
    response.close()
    msg = f"the answer is longer than {limit} bytes (max_answer_bytes)"
    return ModelResponseInvalidError(msg, status=response.status)


async def read_some(response: aiohttp.ClientResponse) -> bytes:
    """Read what comes of an error's body in time, up to a limit. The status matters more than the rest."""
    limit = MAX_ERROR_BYTES
    body = bytearray()
    try:
        async with asyncio.timeout(ERROR_BODY_SECONDS):
            while len(body) < limit and (piece := await response.content.readany()):
                body += piece
    except (aiohttp.ClientError, TimeoutError):
        pass
    finally:
        response.close()  # of no effect if the body has ended: the connection is back in the pool
    return bytes(body[:limit])


async def next_read(content: aiohttp.StreamReader) -> bytes:
    """The next read of a body; what had come before the connection broke, before the error that broke it.

    Raises:
        aiohttp.ClientError: The connection broke, and nothing is left.
    """
    try:
        return await content.readany()
    except aiohttp.ClientError:
        left = content._read_nowait(-1)  # noqa: SLF001 - the public one raises the error again
        if left:
            return left
        raise


class Patience:
    """Reads what follows a finish reason: usage, an end marker, the end of the bytes; `PATIENCE_SECONDS` for all."""

    _until: float | None = None

    async def read(
        self, following: Callable[[], Awaitable[bytes]], broken: type[Exception] | tuple[type[Exception], ...]
    ) -> bytes:
        """The next read; empty if nothing more comes in time.

        Args:
            following: Reads.
            broken: What it raises when the connection fails, which after a finish reason is an end like any other.
        """
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + PATIENCE_SECONDS
        if now >= self._until:
            return b""
        patience = asyncio.timeout_at(self._until)
        try:
            async with patience:
                return await following()
        except broken:
            return b""
        except TimeoutError:
            if not patience.expired():
                raise
            return b""


def lower_case(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as a plain dictionary, names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def raise_clean(exc: aiohttp.ClientResponseError, backend: str | None = None) -> NoReturn:
    """Raise an error of aiohttp without what it must not show: the request's headers, and what it quotes.

    aiohttp quotes what it could not parse, which may be an answer, and calls it a status of 400.

    Raises:
        ModelUnavailableError: What came is no HTTP.
        aiohttp.ClientResponseError: Anything else.
    """
    unreadable = isinstance(exc.__cause__, HttpProcessingError)
    exc.request_info = exc.request_info._replace(headers=_NO_HEADERS)
    exc.args = (exc.request_info, exc.history)
    exc.message = " ".join(_QUOTATION.sub("", exc.message).split())
    exc.__cause__ = exc.__context__ = None
    if not unreadable:
        raise exc
    msg = f"what came is no sound HTTP: {exc.message}"
    raise ModelUnavailableError(msg, backend=backend) from exc
