"""resilient_llm, called directly: the standard stack, streams restarted when they break."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator

import resilient_llm as rl

from . import Ask, Got, Place, Question

NAME = "resilient_llm"
DIALECT = "openai"
MODEL = "gpt-4o"
PACKAGES = ("resilient-llm", "aiohttp")
ERRORS = (rl.LLMError,)
ABILITIES = {"tools", "fallback"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    primary, *others = [
        rl.OpenAICompatibleTransport(url, model=place.model, name=f"backend-{number}")
        for number, url in enumerate(place.urls, 1)
    ]
    options = {"fallback": [rl.Target(transport) for transport in others]} if others else {}
    if place.deadline is not None:
        options["deadline"] = place.deadline
    async with rl.AsyncClient(
        transport=primary,
        model=place.model,
        first_token_timeout=place.first_token,
        idle_timeout=place.idle,
        attempt_timeout=place.first_token,
        rng=random.Random(place.seed),
        **options,
    ) as llm:
        yield lambda question: ask(llm, question)


async def ask(llm: rl.AsyncClient, question: Question) -> Got:
    messages, options = list(question.messages), {}
    if question.tools:
        options["tools"] = list(question.tools)
    if not question.stream:
        return got(await llm.complete(messages, **options))
    async with llm.stream(messages, recovery="restart", **options) as response:
        if question.leave_after is None:
            return got(await response.completion())
        seen: list[str] = []
        async for event in response:
            if isinstance(event, rl.TextDelta):
                seen.append(event.text)
            if len(seen) >= question.leave_after:
                break
        return Got(text="".join(seen))


def got(done: rl.Completion) -> Got:
    calls = tuple(call.arguments for call in done.tool_calls)
    return Got(text=done.text, tool_arguments=calls, finish_reason=done.finish_reason)
