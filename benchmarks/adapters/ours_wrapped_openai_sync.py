"""rl.wrap(OpenAI(), recovery="replay"), in threads: streams that break are told again; limits as allowed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import openai

import resilient_llm as rl

from . import Ask, Got, Pieces, Place, Question
from .openai_sdk import got
from .ours_wrapped_openai import options

NAME = "resilient_llm around openai, sync"
DIALECT = "openai"
MODEL = "gpt-4o"
PACKAGES = ("resilient-llm", "openai")
ERRORS = (openai.OpenAIError,)
ABILITIES = {"fallback", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    client, *others = [openai.OpenAI(base_url=url, api_key="none") for url in place.urls]
    with rl.wrap(client, fallback=others or None, **options(place)) as wrapped:
        yield lambda question: asyncio.to_thread(ask, wrapped, place.model, question)


def ask(client: openai.OpenAI, model: str, question: Question) -> Got:
    options = question.body(model)
    if not question.stream:
        return got(client.chat.completions.create(**options))
    with client.chat.completions.stream(**options) as stream:
        if question.leave_after is None:
            return got(stream.get_final_completion())
        pieces = Pieces(question)
        for event in stream:
            if event.type == "content.delta":
                pieces.add(event.delta)
            if pieces.enough:
                break
        return pieces.got()
