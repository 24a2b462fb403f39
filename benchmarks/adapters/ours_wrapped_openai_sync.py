"""rl.wrap(OpenAI(), recovery="replay"), in threads: streams that break are told again; limits as allowed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import islice

import openai

import resilient_llm as rl

from . import Ask, Got, Place, Question
from ._ours import limits

NAME, DIALECT, MODEL = "resilient_llm around openai, sync", "openai", "gpt-4o"
PACKAGES = ("resilient-llm", "openai")
ERRORS = (openai.OpenAIError,)
ABILITIES = {"fallback", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    client, *others = [openai.OpenAI(base_url=url, api_key="none") for url in place.urls]
    with rl.wrap(client, fallback=others, recovery="replay", **limits(place)) as wrapped:
        yield lambda question: asyncio.to_thread(ask, wrapped, question, question.body(place.model))


def ask(client: openai.OpenAI, question: Question, body: dict) -> Got:
    if not question.stream:
        return Got.of_chat(client.chat.completions.create(**body).model_dump())
    with client.chat.completions.stream(**body) as stream:
        if question.leave_after is None:
            return Got.of_chat(stream.get_final_completion().model_dump())
        texts = (event.delta for event in stream if event.type == "content.delta")
        return Got(text="".join(islice(texts, question.leave_after)))
