"""Reading what a server sends, within bounds, and making it fit to be shown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy

from resilient_llm.errors import ModelResponseInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
MAX_ERROR_BYTES: Final = 64 * 1024
ERROR_BODY_SECONDS: Final = 5.0

_NO_HEADERS: Final[CIMultiDictProxy[str]] = CIMultiDictProxy(CIMultiDict())


async def read_whole(response: aiohttp.ClientResponse) -> bytes:
    """Read a body, decompressed, up to `MAX_BODY_BYTES`.

    Raises:
        ModelResponseInvalidError: It is longer; the connection is dropped.
    """
    limit = MAX_BODY_BYTES
    pieces: list[bytes] = []
    size = 0
    try:
        while size <= limit and (piece := await response.content.readany()):
            size += len(piece)
            pieces.append(piece)
    except BaseException:
        response.close()
        raise
    if size > limit:
        response.close()
        msg = f"the body is longer than {limit} bytes"
        raise ModelResponseInvalidError(msg, status=response.status)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


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


def lower_case(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as a plain dictionary, names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def hide_headers(exc: aiohttp.ClientResponseError) -> None:
    """Take the request's headers out of an error, whose repr would show them, key and all."""
    exc.request_info = exc.request_info._replace(headers=_NO_HEADERS)
    exc.args = (exc.request_info, exc.history)
