"""The openai SDK as its README shows it; its time limit is the shortest that the scenario allows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import openai

from . import Ask, Got, Place, Question

NAME = "openai"
DIALECT = "openai"
MODEL = "gpt-4o"
PACKAGES = ("openai",)
ERRORS = (openai.OpenAIError,)
ABILITIES = {"tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    async with openai.AsyncOpenAI(
        base_url=place.urls[0],
        api_key="none",
        timeout=min(place.first_token, place.deadline or place.first_token),
    ) as client:
        yield lambda question: ask(client, place.model, question)


async def ask(client: openai.AsyncOpenAI, model: str, question: Question) -> Got:
    options = {"model": model, "messages": list(question.messages)}
    if question.tools:
        options["tools"] = list(question.tools)
    if not question.stream:
        done = await client.chat.completions.create(**options)
        choice = done.choices[0]
        calls = tuple(call.function.arguments for call in choice.message.tool_calls or ())
        return Got(
            text=choice.message.content or "", tool_arguments=calls, finish_reason=choice.finish_reason
        )
    texts: list[str] = []
    calls: dict[int, str] = {}
    reason = None
    async with await client.chat.completions.create(**options, stream=True) as stream:
        async for chunk in stream:
            for choice in chunk.choices:
                if choice.delta.content:
                    texts.append(choice.delta.content)
                for call in choice.delta.tool_calls or ():
                    calls[call.index] = calls.get(call.index, "") + (call.function.arguments or "")
                reason = choice.finish_reason or reason
            if question.leave_after is not None and len(texts) >= question.leave_after:
                break
    return Got(text="".join(texts), tool_arguments=tuple(calls.values()), finish_reason=reason)
