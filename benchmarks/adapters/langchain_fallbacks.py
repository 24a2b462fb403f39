"""ChatOpenAI as it comes (2 retries) with limits as allowed; with_fallbacks([...]) where there is another backend."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import openai
from langchain_core.exceptions import LangChainException
from langchain_openai import ChatOpenAI, StreamChunkTimeoutError

from . import Ask, Got, Pieces, Place, Question

NAME, DIALECT, MODEL = "LangChain", "openai", "gpt-4o"
PACKAGES = ("langchain-openai", "langchain-core", "openai")
ERRORS = (openai.OpenAIError, LangChainException, StreamChunkTimeoutError)
ABILITIES = {"cancel", "fallback", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    limits = {"timeout": place.timeout, "stream_chunk_timeout": place.idle}
    models = [ChatOpenAI(base_url=url, api_key="none", model=place.model, **limits) for url in place.urls]
    yield lambda question: ask(models, question)


async def ask(models: list[ChatOpenAI], question: Question) -> Got:
    first, *others = [model.bind_tools(question.tools) if question.tools else model for model in models]
    model, messages = first.with_fallbacks(others) if others else first, list(question.messages)
    if not question.stream:
        return got(await model.ainvoke(messages))
    chunks = model.astream(messages)
    if question.leave_after is not None:
        return await Pieces(question).read(chunk.text async for chunk in chunks)
    first, *others = [chunk async for chunk in chunks]
    return got(sum(others, first))


def got(message) -> Got:
    calls = [json.dumps(call["args"]) for call in message.tool_calls]
    calls += [call["args"] or "" for call in message.invalid_tool_calls]
    reason = message.response_metadata.get("finish_reason")
    return Got(text=message.text, tool_arguments=tuple(calls), finish_reason=reason)
