"""The anthropic SDK's blocking client, wrapped by resilient_llm, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import anthropic

import resilient_llm as rl

from . import Ask, Got, Place, Question
from .anthropic_sdk import asked, got
from .ours_wrapped_openai import options

NAME = "resilient_llm around anthropic, sync"
DIALECT = "anthropic"
MODEL = "claude-sonnet-4-5"
PACKAGES = ("resilient-llm", "anthropic")
ERRORS = (anthropic.AnthropicError,)
ABILITIES = {"tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    client = anthropic.Anthropic(base_url=place.urls[0].removesuffix("/v1"), api_key="none")
    with rl.wrap(client, **options(place)) as wrapped:
        yield lambda question: asyncio.to_thread(ask, wrapped, place.model, question)


def ask(client: anthropic.Anthropic, model: str, question: Question) -> Got:
    options = asked(model, question)
    if not question.stream:
        return got(client.messages.create(**options))
    with client.messages.stream(**options) as stream:
        if question.leave_after is None:
            return got(stream.get_final_message())
        seen: list[str] = []
        for text in stream.text_stream:
            seen.append(text)
            if len(seen) >= question.leave_after:
                break
        return Got(text="".join(seen))
