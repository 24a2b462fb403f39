"""rl.wrap(AsyncOpenAI(), recovery="replay"): streams that break are told again; limits as allowed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator

import openai

import resilient_llm as rl

from . import Ask, Place
from .openai_sdk import ask

NAME = "resilient_llm around openai"
DIALECT = "openai"
MODEL = "gpt-4o"
PACKAGES = ("resilient-llm", "openai")
ERRORS = (openai.OpenAIError,)
ABILITIES = {"cancel", "fallback", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    client, *others = [openai.AsyncOpenAI(base_url=url, api_key="none") for url in place.urls]
    async with rl.wrap(client, fallback=others or None, **options(place)) as wrapped:
        yield lambda question: ask(wrapped, place.model, question)


def options(place: Place) -> dict[str, object]:
    """What a wrapped client is given."""
    return {
        "recovery": "replay",
        "first_token_timeout": place.first_token,
        "idle_timeout": place.idle,
        "attempt_timeout": place.first_token,
        "rng": random.Random(place.seed),
        **({} if place.deadline is None else {"deadline": place.deadline}),
    }
