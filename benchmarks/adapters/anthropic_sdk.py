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
        yield lambda question: ask(client, place.model, question)


async def ask(client: anthropic.AsyncAnthropic, model: str, question: Question) -> Got:
    body = asked(model, question)
    if not question.stream:
        return got(await client.messages.create(**body))
    async with client.messages.stream(**body) as stream:
        if question.leave_after is None:
            return got(await stream.get_final_message())
        pieces = Pieces(question)
        async for text in stream.text_stream:
            pieces.add(text)
            if pieces.enough:
                break
        return pieces.got()


def asked(model: str, question: Question) -> dict:
    """A request in Anthropic's shape."""
    body = question.body(model)
    system = [message["content"] for message in body["messages"] if message["role"] == "system"]
    messages = [message for message in body["messages"] if message["role"] != "system"]
    functions = [tool["function"] for tool in body.get("tools", ())]
    tools = [{"input_schema": each.pop("parameters"), **each} for each in map(dict, functions)]
    more = ({"system": "\n".join(system)} if system else {}) | ({"tools": tools} if tools else {})
    return {"model": model, "max_tokens": 500, "messages": messages, **more}


def got(message: anthropic.types.Message) -> Got:
    texts = [block.text for block in message.content if block.type == "text"]
    calls = tuple(json.dumps(block.input) for block in message.content if block.type == "tool_use")
    return Got(text="".join(texts), tool_arguments=calls, finish_reason=message.stop_reason)
