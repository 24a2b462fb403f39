"""rl.wrap(Anthropic(), recovery="replay"), in threads: streams that break are told again; limits as allowed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import anthropic

import resilient_llm as rl

from . import Ask, Got, Pieces, Place, Question
from .anthropic_sdk import asked, got
from .ours_wrapped_openai import options

NAME = "resilient_llm around anthropic, sync"
DIALECT = "anthropic"
MODEL = "claude-sonnet-4-5"
PACKAGES = ("resilient-llm", "anthropic")
ERRORS = (anthropic.AnthropicError,)
ABILITIES = {"fallback", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    client, *others = [
        anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key="none") for url in place.urls
    ]
    with rl.wrap(client, fallback=others or None, **options(place)) as wrapped:
        yield lambda question: asyncio.to_thread(ask, wrapped, place.model, question)


def ask(client: anthropic.Anthropic, model: str, question: Question) -> Got:
    options = asked(model, question)
    if not question.stream:
        return got(client.messages.create(**options))
    with client.messages.stream(**options) as stream:
        if question.leave_after is None:
            return got(stream.get_final_message())
        pieces = Pieces(question)
        for text in stream.text_stream:
            pieces.add(text)
            if pieces.enough:
                break
        return pieces.got()
