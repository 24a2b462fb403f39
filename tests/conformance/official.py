"""What the official SDKs make of a server's answers, in our words; and ours, to be laid beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import attrs
import openai

import resilient_llm as rl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from openai.types.chat import ChatCompletionChunk

Options = dict[str, Any]
STOPS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}
KEY = "none"


@attrs.frozen
class View:
    """An answer as a caller sees it; ids are the server's own and differ from call to call."""

    text: str
    calls: tuple[tuple[str, object], ...]
    finish_reason: str | None
    tokens: tuple[int | None, int | None]
    model: str


async def ours(dialect: str, url: str, stream: bool, options: Options) -> View:
    """Our client's view."""
    async with rl.AsyncClient(dialect, base_url=url, api_key=KEY, max_retries=0) as llm:
        if stream:
            async with llm.stream(**options) as response:
                done = await response.completion()
        else:
            done = await llm.complete(**options)
    assert len({call.id for call in done.tool_calls}) == len(done.tool_calls)
    return View(
        done.text,
        tuple((call.name, json.loads(call.arguments)) for call in done.tool_calls),
        done.finish_reason,
        (done.usage.prompt_tokens, done.usage.completion_tokens),
        done.model,
    )


async def by_openai(url: str, stream: bool, options: Options) -> View:
    """The openai SDK's view."""
    asked = dict(options)
    asked["messages"] = asked.pop("prompt")
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        if stream:
            usage = {"include_usage": True}
            return await _collected(
                await client.chat.completions.create(stream=True, stream_options=usage, **asked)
            )
        done = await client.chat.completions.create(**asked)
    (choice,) = done.choices
    calls = [call.function for call in choice.message.tool_calls or ()]
    assert done.usage is not None
    return View(
        choice.message.content or "",
        tuple((call.name, json.loads(call.arguments)) for call in calls),
        choice.finish_reason,
        (done.usage.prompt_tokens, done.usage.completion_tokens),
        done.model,
    )


async def _collected(chunks: openai.AsyncStream[ChatCompletionChunk]) -> View:
    """What the chunks that the SDK hands over add up to."""
    text, reason, tokens, model = "", None, (None, None), ""
    calls: dict[int, list[str]] = {}
    async for chunk in chunks:
        model = chunk.model
        if chunk.usage:
            tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or ():
                told = calls.setdefault(call.index, ["", ""])
                told[0] += call.function.name or ""
                told[1] += call.function.arguments or ""
    return View(text, tuple((name, json.loads(told)) for name, told in calls.values()), reason, tokens, model)


async def by_anthropic(url: str, stream: bool, options: Options) -> View:
    """The anthropic SDK's view, of a conversation of users' messages."""
    asked = dict(options)
    asked["messages"] = asked.pop("prompt")
    if tools := asked.pop("tools", None):
        asked["tools"] = [_tool(tool["function"]) for tool in tools]
    asked.setdefault("max_tokens", 4096)
    async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0) as client:
        if not stream:
            done = await client.messages.create(**asked)
        else:
            async with client.messages.stream(**asked) as events:
                done = await events.get_final_message()
    return View(
        "".join(block.text for block in done.content if block.type == "text"),
        tuple((block.name, block.input) for block in done.content if block.type == "tool_use"),
        STOPS[done.stop_reason or ""],
        (done.usage.input_tokens, done.usage.output_tokens),
        done.model,
    )


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in function.items() if key != "parameters"}
    return {**rest, "input_schema": function["parameters"]}


async def embedded_by_openai(url: str, texts: Sequence[str], model: str) -> rl.Embeddings:
    """The openai SDK's view of embeddings."""
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        told = await client.embeddings.create(input=list(texts), model=model)
    usage = rl.Usage(prompt_tokens=told.usage.prompt_tokens, total_tokens=told.usage.total_tokens)
    return rl.Embeddings([item.embedding for item in told.data], told.model, usage)
