"""OpenAIChatModel as it comes (2 retries) with limits as allowed; a FallbackModel where there is another backend."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from pydantic_ai import direct, exceptions, messages, models, tools
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from . import Ask, Got, Pieces, Place, Question

NAME, DIALECT, MODEL = "pydantic-ai", "openai", "gpt-4o"
PACKAGES = ("pydantic-ai-slim", "openai")
ERRORS = (exceptions.AgentRunError, exceptions.FallbackExceptionGroup)
ABILITIES = {"cancel", "fallback", "tools"}
ROLES = {"system": messages.SystemPromptPart, "user": messages.UserPromptPart}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    every = [
        OpenAIChatModel(place.model, provider=OpenAIProvider(base_url=url, api_key="none"))
        for url in place.urls
    ]
    limits = {"timeout": place.timeout, "first_event_timeout": place.first_token}
    if place.deadline is not None:
        limits["request_timeout"] = place.deadline
    model = FallbackModel(*every) if len(every) > 1 else every[0]
    yield lambda question: ask(model, limits, question)


async def ask(model: models.Model, limits: dict, question: Question) -> Got:
    offered = [
        tools.ToolDefinition(name=tool["name"], parameters_json_schema=tool["parameters"])
        for tool in (each["function"] for each in question.tools)
    ]
    asked = [
        messages.ModelResponse(parts=[messages.TextPart(each["content"])])
        if each["role"] == "assistant"
        else messages.ModelRequest(parts=[ROLES[each["role"]](each["content"])])
        for each in question.messages
    ]
    options = {
        "model_settings": limits,
        "model_request_parameters": models.ModelRequestParameters(function_tools=offered),
    }
    if not question.stream:
        return got(await direct.model_request(model, asked, **options))
    pieces = Pieces(question)
    async with direct.model_request_stream(model, asked, **options) as stream:
        async for event in stream:
            part = getattr(event, "part", None) or getattr(event, "delta", None)
            pieces.add(getattr(part, "content", None) or getattr(part, "content_delta", None))
            if pieces.enough:
                return pieces.got()
        return got(stream.get())


def got(done: messages.ModelResponse) -> Got:
    calls = [part.args_as_json_str() for part in done.parts if isinstance(part, messages.ToolCallPart)]
    texts = [part.content for part in done.parts if isinstance(part, messages.TextPart)]
    return Got(text="".join(texts), tool_arguments=tuple(calls), finish_reason=done.finish_reason)
