"""rl.wrap(Anthropic(), recovery="replay"), in threads: streams that break are told again; limits as allowed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import islice

import anthropic

import resilient_llm as rl

from . import Ask, Got, Place, Question
from ._ours import limits
from .anthropic_sdk import got

NAME, DIALECT, MODEL = "resilient_llm around anthropic, sync", "anthropic", "claude-sonnet-4-5"
PACKAGES = ("resilient-llm", "anthropic")
ERRORS = (anthropic.AnthropicError,)
ABILITIES = {"fallback", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    urls = [url.removesuffix("/v1") for url in place.urls]
    client, *others = [anthropic.Anthropic(base_url=url, api_key="none") for url in urls]
    with rl.wrap(client, fallback=others, recovery="replay", **limits(place)) as wrapped:
        yield lambda question: asyncio.to_thread(ask, wrapped, question, question.anthropic_body(place.model))


def ask(client: anthropic.Anthropic, question: Question, body: dict) -> Got:
    if not question.stream:
        return got(client.messages.create(**body))
    with client.messages.stream(**body) as stream:
        if question.leave_after is None:
            return got(stream.get_final_message())
        return Got(text="".join(islice(stream.text_stream, question.leave_after)))
