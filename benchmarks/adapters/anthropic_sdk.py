"""AsyncAnthropic as the README shows it (2 retries); its time limit is the shortest that the scenario allows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import anthropic

from . import Ask, Got, Pieces, Place, Question

NAME, DIALECT, MODEL = "anthropic", "anthropic", "claude-sonnet-4-5"
PACKAGES = ("anthropic",)
ERRORS = (anthropic.AnthropicError,)
ABILITIES = {"cancel", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    url = place.urls[0].removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", timeout=place.timeout) as client:
        yield lambda question: ask(client, question.anthropic_body(place.model), question)


async def ask(client: anthropic.AsyncAnthropic, body: dict, question: Question) -> Got:
    if not question.stream:
        return got(await client.messages.create(**body))
    async with client.messages.stream(**body) as stream:
        if question.leave_after is None:
            return got(await stream.get_final_message())
        return await Pieces(question).read(stream.text_stream)


def got(message: anthropic.types.Message) -> Got:
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = tuple(json.dumps(block.input) for block in message.content if block.type == "tool_use")
    return Got(text=text, tool_arguments=calls, finish_reason=message.stop_reason)
