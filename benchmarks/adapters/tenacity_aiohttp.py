"""tenacity round aiohttp: wait_random_exponential(1 to 60 s), stop_after_attempt(6), as OpenAI's cookbook has it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import tenacity

from . import Ask, Place, bare_aiohttp

NAME, DIALECT, MODEL = "tenacity", "openai", "gpt-4o"
PACKAGES = ("tenacity", "aiohttp")
ERRORS = (*bare_aiohttp.ERRORS, tenacity.RetryError)
ABILITIES = {"cancel", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    patient = tenacity.retry(
        wait=tenacity.wait_random_exponential(min=1, max=60), stop=tenacity.stop_after_attempt(6)
    )
    async with bare_aiohttp.opened(place) as ask:

        @patient
        async def asked(question):
            return await ask(question)

        yield asked
