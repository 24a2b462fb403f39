"""The openai SDK, wrapped by resilient_llm: streams that break are told again."""

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
ABILITIES = {"tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    client = openai.AsyncOpenAI(base_url=place.urls[0], api_key="none")
    async with rl.wrap(client, **options(place)) as wrapped:
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
