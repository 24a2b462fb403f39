"""AsyncClient("anthropic") with its standard stack, streams restarted when they break; limits as allowed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import resilient_llm as rl

from . import Ask, Place
from ._ours import ask, limits

NAME, DIALECT, MODEL = "resilient_llm, Anthropic", "anthropic", "claude-sonnet-4-5"
PACKAGES = ("resilient-llm", "aiohttp")
ERRORS = (rl.LLMError,)
ABILITIES = {"cancel", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    url = place.urls[0].removesuffix("/v1")
    backend = {"model": place.model, "base_url": url, "api_key": "none"}
    async with rl.AsyncClient("anthropic", **backend, **limits(place)) as llm:
        yield lambda question: ask(llm, question)
