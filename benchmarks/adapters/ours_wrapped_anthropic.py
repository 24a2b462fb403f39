"""The anthropic SDK, wrapped by resilient_llm: streams that break are told again."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import anthropic

import resilient_llm as rl

from . import Ask, Place
from .anthropic_sdk import ask
from .ours_wrapped_openai import options

NAME = "resilient_llm around anthropic"
DIALECT = "anthropic"
MODEL = "claude-sonnet-4-5"
PACKAGES = ("resilient-llm", "anthropic")
ERRORS = (anthropic.AnthropicError,)
ABILITIES = {"tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    client = anthropic.AsyncAnthropic(base_url=place.urls[0].removesuffix("/v1"), api_key="none")
    async with rl.wrap(client, **options(place)) as wrapped:
        yield lambda question: ask(wrapped, place.model, question)
