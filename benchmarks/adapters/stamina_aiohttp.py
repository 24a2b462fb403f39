"""stamina round aiohttp: retry(on=(ClientError, TimeoutError), attempts=3), its own waits, as its README has it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import stamina

from . import Ask, Place, bare_aiohttp

NAME, DIALECT, MODEL = "stamina", "openai", "gpt-4o"
PACKAGES = ("stamina", "aiohttp")
ERRORS = bare_aiohttp.ERRORS
ABILITIES = {"cancel", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    async with bare_aiohttp.opened(place) as ask:

        @stamina.retry(on=bare_aiohttp.ERRORS, attempts=3)
        async def asked(question):
            return await ask(question)

        yield asked
