"""rl.wrap(AsyncAnthropic(), recovery="replay"): streams that break are told again; limits as allowed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import anthropic

import resilient_llm as rl

from . import Ask, Place
from ._ours import limits
from .anthropic_sdk import ask

NAME, DIALECT, MODEL = "resilient_llm around anthropic", "anthropic", "claude-sonnet-4-5"
PACKAGES = ("resilient-llm", "anthropic")
ERRORS = (anthropic.AnthropicError,)
ABILITIES = {"cancel", "fallback", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    urls = [url.removesuffix("/v1") for url in place.urls]
    client, *others = [anthropic.AsyncAnthropic(base_url=url, api_key="none") for url in urls]
    async with rl.wrap(client, fallback=others, recovery="replay", **limits(place)) as wrapped:
        yield lambda question: ask(wrapped, question.anthropic_body(place.model), question)
