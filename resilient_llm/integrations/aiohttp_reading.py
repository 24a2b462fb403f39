"""Reading from aiohttp's bodies without losing what came before a connection broke."""

from __future__ import annotations

import aiohttp


async def next_read(content: aiohttp.StreamReader) -> bytes:
    """The next read; what had come before the connection broke, before the error that broke it.

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
