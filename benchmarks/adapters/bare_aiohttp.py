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
            choice = (await answer.json())["choices"][0]
            calls = [call["function"]["arguments"] for call in choice["message"].get("tool_calls", ())]
            return Got(
                text=choice["message"]["content"] or "",
                tool_arguments=tuple(calls),
                finish_reason=choice["finish_reason"],
            )
        async for line in answer.content:
            for choice in json.loads(line[6:])["choices"] if line.startswith(b"data: {") else ():
                pieces.add(choice["delta"].get("content"), choice["finish_reason"])
                for call in choice["delta"].get("tool_calls", ()):
                    pieces.call(call["index"], call["function"]["arguments"])
            if pieces.enough:
                break
    return pieces.got()
