"""The anthropic SDK as its README shows it; its time limit is the shortest that the scenario allows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import anthropic

from . import Ask, Got, Place, Question

NAME = "anthropic"
DIALECT = "anthropic"
MODEL = "claude-sonnet-4-5"
PACKAGES = ("anthropic",)
ERRORS = (anthropic.AnthropicError,)
ABILITIES = {"tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    async with anthropic.AsyncAnthropic(
        base_url=place.urls[0].removesuffix("/v1"),
        api_key="none",
        timeout=min(place.first_token, place.deadline or place.first_token),
    ) as client:
        yield lambda question: ask(client, place.model, question)


def asked(model: str, question: Question) -> dict[str, object]:
    """The arguments of a call."""
    system = [message["content"] for message in question.messages if message["role"] == "system"]
    options = {
        "model": model,
        "max_tokens": 500,
        "messages": [message for message in question.messages if message["role"] != "system"],
    }
    if system:
        options["system"] = "\n".join(system)
    if question.tools:
        options["tools"] = [
            {
                "name": tool["function"]["name"],
                "description": tool["function"]["description"],
                "input_schema": tool["function"]["parameters"],
            }
            for tool in question.tools
        ]
    return options


async def ask(client: anthropic.AsyncAnthropic, model: str, question: Question) -> Got:
    options = asked(model, question)
    if not question.stream:
        return got(await client.messages.create(**options))
    async with client.messages.stream(**options) as stream:
        if question.leave_after is None:
            return got(await stream.get_final_message())
        seen: list[str] = []
        async for text in stream.text_stream:
            seen.append(text)
            if len(seen) >= question.leave_after:
                break
        return Got(text="".join(seen))


def got(message: anthropic.types.Message) -> Got:
    texts = [block.text for block in message.content if block.type == "text"]
    calls = tuple(json.dumps(block.input) for block in message.content if block.type == "tool_use")
    return Got(text="".join(texts), tool_arguments=calls, finish_reason=message.stop_reason)
