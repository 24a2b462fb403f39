"""OpenAIChatModel as it comes (2 retries) with limits as allowed; a FallbackModel where there is another backend."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from pydantic_ai import direct, exceptions, messages, models, tools
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from . import Ask, Got, Place, Question

NAME, DIALECT, MODEL = "pydantic-ai", "openai", "gpt-4o"
PACKAGES = ("pydantic-ai-slim", "openai")
ERRORS = (exceptions.AgentRunError, exceptions.FallbackExceptionGroup)
ABILITIES = {"cancel", "fallback", "tools"}
PARTS = {"system": messages.SystemPromptPart, "user": messages.UserPromptPart, "assistant": messages.TextPart}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    providers = [OpenAIProvider(base_url=url, api_key="none") for url in place.urls]
    every = [OpenAIChatModel(place.model, provider=provider) for provider in providers]
    limits = {"timeout": place.timeout, "first_event_timeout": place.first_token}
    if place.deadline is not None:
        limits["request_timeout"] = place.deadline
    model = FallbackModel(*every) if len(every) > 1 else every[0]
    yield lambda question: ask(model, limits, question)


async def ask(model: models.Model, limits: dict, question: Question) -> Got:
    functions = [tool["function"] for tool in question.tools]
    told = [
        tools.ToolDefinition(name=each["name"], parameters_json_schema=each["parameters"])
        for each in functions
    ]
    offered = models.ModelRequestParameters(function_tools=told)
    asked, settings = [], {"model_settings": limits, "model_request_parameters": offered}
    for each in question.messages:
        whose = messages.ModelResponse if each["role"] == "assistant" else messages.ModelRequest
        asked.append(whose(parts=[PARTS[each["role"]](each["content"])]))
    if not question.stream:
        return got(await direct.model_request(model, asked, **settings))
    async with direct.model_request_stream(model, asked, **settings) as stream:
        read = 0
        async for event in stream:
            read += isinstance(event, messages.PartDeltaEvent)
            if read == question.leave_after:
                break
        return got(stream.get())


def got(done: messages.ModelResponse) -> Got:
    calls = tuple(call.args_as_json_str() for call in done.tool_calls)
    return Got(text=done.text or "", tool_arguments=calls, finish_reason=done.finish_reason)
