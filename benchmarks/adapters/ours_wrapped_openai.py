"""rl.wrap(AsyncOpenAI(), recovery="replay"): streams that break are told again; limits as allowed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import openai

import resilient_llm as rl

from . import Ask, Place
from ._ours import limits
from .openai_sdk import ask

NAME, DIALECT, MODEL = "resilient_llm around openai", "openai", "gpt-4o"
PACKAGES = ("resilient-llm", "openai")
ERRORS = (openai.OpenAIError,)
ABILITIES = {"cancel", "fallback", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    client, *others = [openai.AsyncOpenAI(base_url=url, api_key="none") for url in place.urls]
    async with rl.wrap(client, fallback=others, recovery="replay", **limits(place)) as wrapped:
        yield lambda question: ask(wrapped, place.model, question)
