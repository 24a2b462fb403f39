"""AsyncClient("anthropic") with its standard stack, streams restarted when they break; limits as allowed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator

import resilient_llm as rl

from . import Ask, Place
from .ours import ask

NAME = "resilient_llm, Anthropic"
DIALECT = "anthropic"
MODEL = "claude-sonnet-4-5"
PACKAGES = ("resilient-llm", "aiohttp")
ERRORS = (rl.LLMError,)
ABILITIES = {"cancel", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    async with rl.AsyncClient(
        "anthropic",
        model=place.model,
        base_url=place.urls[0].removesuffix("/v1"),
        api_key="none",
        first_token_timeout=place.first_token,
        idle_timeout=place.idle,
        attempt_timeout=place.first_token,
        rng=random.Random(place.seed),
        **({} if place.deadline is None else {"deadline": place.deadline}),
    ) as llm:
        yield lambda question: ask(llm, question)
