"""What the adapters of resilient_llm share."""

from __future__ import annotations

import random

import resilient_llm as rl

from . import Got, Pieces, Place, Question


def limits(place: Place) -> dict:
    """The scenario's limits and chances as options."""
    given = {} if place.deadline is None else {"deadline": place.deadline}
    return given | {
        "first_token_timeout": place.first_token,
        "idle_timeout": place.idle,
        "attempt_timeout": place.first_token,
        "rng": random.Random(place.seed),
    }


async def ask(llm: rl.AsyncClient, question: Question) -> Got:
    """Ask a client of ours; a stream that breaks begins anew, or goes on if the question says so."""
    messages, options = list(question.messages), {"tools": list(question.tools)} if question.tools else {}
    if not question.stream:
        return got(await llm.complete(messages, **options))
    recovery = "resume" if question.resume else "restart"
    async with llm.stream(messages, recovery=recovery, **options) as response:
        if question.leave_after is None:
            return got(await response.completion())
        texts = (event.text async for event in response if isinstance(event, rl.TextDelta))
        return await Pieces(question).read(texts)


def got(done: rl.Completion) -> Got:
    """What a whole answer says."""
    calls = tuple(call.arguments for call in done.tool_calls)
    return Got(text=done.text, tool_arguments=calls, finish_reason=done.finish_reason)
