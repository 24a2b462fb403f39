"""AsyncOpenAI as the README shows it (2 retries); its time limit is the shortest that the scenario allows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import openai

from . import Ask, Got, Pieces, Place, Question

NAME, DIALECT, MODEL = "openai", "openai", "gpt-4o"
PACKAGES = ("openai",)
ERRORS = (openai.OpenAIError,)
ABILITIES = {"cancel", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    async with openai.AsyncOpenAI(base_url=place.urls[0], api_key="none", timeout=place.timeout) as client:
        yield lambda question: ask(client, place.model, question)


async def ask(client: openai.AsyncOpenAI, model: str, question: Question) -> Got:
    if not question.stream:
        return Got.of_chat((await client.chat.completions.create(**question.body(model))).model_dump())
    async with await client.chat.completions.create(**question.body(model), stream=True) as stream:
        return await read(stream, question)


async def read(chunks: AsyncIterator[openai.types.chat.ChatCompletionChunk], question: Question) -> Got:
    pieces = Pieces(question)
    async for chunk in chunks:
        pieces.chunk(chunk.model_dump())
        if pieces.enough:
            break
    return pieces.got()
