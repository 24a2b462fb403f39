"""The openai SDK's blocking client, wrapped by resilient_llm, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import openai

import resilient_llm as rl

from . import Ask, Got, Place, Question
from .ours_wrapped_openai import options

NAME = "resilient_llm around openai, sync"
DIALECT = "openai"
MODEL = "gpt-4o"
PACKAGES = ("resilient-llm", "openai")
ERRORS = (openai.OpenAIError,)
ABILITIES = {"tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    client = openai.OpenAI(base_url=place.urls[0], api_key="none")
    with rl.wrap(client, **options(place)) as wrapped:
        yield lambda question: asyncio.to_thread(ask, wrapped, place.model, question)


def ask(client: openai.OpenAI, model: str, question: Question) -> Got:
    options = {"model": model, "messages": list(question.messages)}
    if question.tools:
        options["tools"] = list(question.tools)
    if not question.stream:
        return got(client.chat.completions.create(**options))
    with client.chat.completions.stream(**options) as stream:
        if question.leave_after is None:
            return got(stream.get_final_completion())
        seen: list[str] = []
        for event in stream:
            if event.type == "content.delta":
                seen.append(event.delta)
            if len(seen) >= question.leave_after:
                break
        return Got(text="".join(seen))


def got(done: openai.types.chat.ChatCompletion) -> Got:
    choice = done.choices[0]
    calls = tuple(call.function.arguments for call in choice.message.tool_calls or ())
    return Got(text=choice.message.content or "", tool_arguments=calls, finish_reason=choice.finish_reason)
