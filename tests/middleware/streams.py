"""Broken streams, and readers of what becomes of them."""

from __future__ import annotations

import asyncio
import random

from resilient_llm.errors import LLMError, ModelUnavailableError
from resilient_llm.events import Finish, Restarted, TextDelta
from resilient_llm.models import Request
from resilient_llm.pipeline import Pipeline
from resilient_llm.presets import standard_stack
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

ASK = Request(messages=({"role": "user", "content": "Hello"},), stream=True)
END = Finish("stop")


def reset() -> ModelUnavailableError:
    return ModelUnavailableError("the connection was reset")


def texts(text: str) -> list[TextDelta]:
    return [TextDelta(piece) for piece in text.split("|")]


def broken(text: str, error: Exception | None = None):
    """A stream of text that ends in an error."""
    return [*texts(text), error or reset()]


def whole(text: str):
    """A stream of text that ends as it should."""
    return [*texts(text), END]


def stack(mode: str, *scripts, resumes: bool = True, **options) -> tuple[Pipeline, ScriptedTransport]:
    """The standard stack without jitter, over a scripted transport."""
    clock = FakeClock()
    transport = ScriptedTransport(*scripts, resumes=resumes)
    options = {"jitter": None, "rng": random.Random(1), "token_budget": None} | options
    return Pipeline(standard_stack(clock=clock, recovery=mode, **options), transport, clock=clock), transport


async def read(pipeline, request: Request = ASK):
    """What the reader of a stream sees, and the error, if one ends it."""
    seen = []
    try:
        async with await pipeline(request) as response:
            async for event in response:
                seen.append(event)  # noqa: PERF401 - a comprehension would lose them with the error
    except LLMError as error:
        return seen, error
    return seen, None


def events_of(mode: str, *scripts, request: Request = ASK, **options):
    """What the reader sees, and the error; the transport; and when it was over."""

    async def scenario():
        pipeline, transport = stack(mode, *scripts, **options)
        seen, error = await read(pipeline, request)
        assert transport.open_bodies == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return seen, error, transport, asyncio.get_running_loop().time()

    return run_virtual(scenario())


def text_of(events) -> str:
    """What a reader has who drops everything at a `Restarted`."""
    text = ""
    for event in events:
        if isinstance(event, Restarted):
            text = ""
        elif isinstance(event, TextDelta):
            text += event.text
    return text
