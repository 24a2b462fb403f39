"""AsyncClient with its standard stack, streams restarted when they break; limits as allowed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator

import resilient_llm as rl

from . import Ask, Got, Pieces, Place, Question

NAME = "resilient_llm"
DIALECT = "openai"
MODEL = "gpt-4o"
PACKAGES = ("resilient-llm", "aiohttp")
ERRORS = (rl.LLMError,)
ABILITIES = {"cancel", "fallback", "tools"}


class Backend(rl.OpenAICompatibleTransport):
    """A server that is known to go on with the beginning of an answer."""

    def resumes(self, _request: rl.Request) -> bool:
        return True


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    primary, *others = [
        Backend(url, model=place.model, name=f"backend-{number}") for number, url in enumerate(place.urls, 1)
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
    messages = list(question.messages)
    options = {"tools": list(question.tools)} if question.tools else {}
    if not question.stream:
        return got(await llm.complete(messages, **options))
    recovery = "resume" if question.resume else "restart"
    async with llm.stream(messages, recovery=recovery, **options) as response:
        if question.leave_after is None:
            return got(await response.completion())
        pieces = Pieces(question)
        async for event in response:
            if isinstance(event, rl.TextDelta):
                pieces.add(event.text)
            if pieces.enough:
                break
        return pieces.got()


def got(done: rl.Completion) -> Got:
    calls = tuple(call.arguments for call in done.tool_calls)
    return Got(text=done.text, tool_arguments=calls, finish_reason=done.finish_reason)
