"""AsyncClient with its standard stack, streams restarted when they break; limits as allowed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import resilient_llm as rl

from . import Ask, Place
from ._ours import ask, limits

NAME, DIALECT, MODEL = "resilient_llm", "openai", "gpt-4o"
PACKAGES = ("resilient-llm", "aiohttp")
ERRORS = (rl.LLMError,)
ABILITIES = {"cancel", "fallback", "tools"}


class Backend(rl.OpenAICompatibleTransport):
    """A server that is known to go on with the beginning of an answer."""

    def resumes(self, _request: rl.Request) -> bool:
        return True


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    primary, *others = [
        Backend(url, model=place.model, name=f"backend-{number}") for number, url in enumerate(place.urls, 1)
    ]
    async with rl.AsyncClient(transport=primary, fallback=others, **limits(place)) as llm:
        yield lambda question: ask(llm, question)
