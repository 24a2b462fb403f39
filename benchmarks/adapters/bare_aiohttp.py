"""An aiohttp session and nothing round it; its limit is for each read, and the scenario's deadline for the whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from functools import partial

import aiohttp

from . import Ask, Got, Pieces, Place, Question

NAME, DIALECT, MODEL = "aiohttp", "openai", "gpt-4o"
PACKAGES = ("aiohttp",)
ERRORS = (aiohttp.ClientError, TimeoutError)  # aiohttp documents both
ABILITIES = {"cancel", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    limits = aiohttp.ClientTimeout(total=place.deadline, sock_read=place.first_token)
    async with aiohttp.ClientSession(timeout=limits, raise_for_status=True) as session:
        yield partial(ask, session, place)


async def ask(session: aiohttp.ClientSession, place: Place, question: Question) -> Got:
    body, pieces = question.body(place.model) | {"stream": question.stream}, Pieces(question)
    async with session.post(f"{place.urls[0]}/chat/completions", json=body) as answer:
        if not question.stream:
            return Got.of_chat(await answer.json())
        async for line in answer.content:
            if line.startswith(b"data: {"):
                pieces.chunk(json.loads(line[6:]))
            if pieces.enough:
                break
    return pieces.got()
