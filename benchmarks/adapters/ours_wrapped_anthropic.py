"""rl.wrap(AsyncAnthropic(), recovery="replay"): streams that break are told again; limits as allowed."""

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
ABILITIES = {"cancel", "fallback", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    client, *others = [
        anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key="none") for url in place.urls
    ]
    async with rl.wrap(client, fallback=others or None, **options(place)) as wrapped:
        yield lambda question: ask(wrapped, place.model, question)
