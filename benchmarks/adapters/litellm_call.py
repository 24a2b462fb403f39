"""litellm.acompletion with num_retries=2 and, where there is another backend, fallbacks=[...]; timeout as allowed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no download at its import

import litellm
import openai

from . import Ask, Got, Place, Question
from .openai_sdk import read

NAME, DIALECT, MODEL = "litellm", "openai", "gpt-4o"
PACKAGES = ("litellm", "openai")
ERRORS = (openai.OpenAIError,)  # litellm's exceptions are made from openai's
ABILITIES = {"cancel", "fallback", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    first, *others = [
        {"model": f"openai/{place.model}", "api_base": url, "api_key": "none"} for url in place.urls
    ]
    options = {**first, "timeout": place.timeout, "num_retries": 2}
    if others:
        options["fallbacks"] = others
    yield lambda question: ask(options, question)


async def ask(options: dict, question: Question) -> Got:
    body = question.body(options["model"]) | options
    if not question.stream:
        return Got.of_chat((await litellm.acompletion(**body)).model_dump())
    return await read(await litellm.acompletion(**body, stream=True), question)
