"""litellm.Router as it comes (num_retries 2) with a group for each backend, the second the first's fallback."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from . import Ask, Got, Place, Question
from .litellm_call import DIALECT, ERRORS, MODEL, PACKAGES, litellm  # noqa: F401 - they are this module's, too
from .openai_sdk import read

NAME = "litellm Router"
ABILITIES = {"cancel", "fallback", "tools"}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ask]:
    options = {"model": f"openai/{place.model}", "api_key": "none"}
    options |= {"timeout": place.timeout, "stream_timeout": place.timeout}
    groups = [
        {"model_name": f"group-{number}", "litellm_params": {"api_base": url, **options}}
        for number, url in enumerate(place.urls)
    ]
    fallbacks = [{"group-0": ["group-1"]}] if len(groups) > 1 else []
    router = litellm.Router(model_list=groups, fallbacks=fallbacks)
    yield lambda question: ask(router, question)


async def ask(router: litellm.Router, question: Question) -> Got:
    body = question.body("group-0")
    if not question.stream:
        return Got.of_chat((await router.acompletion(**body)).model_dump())
    return await read(await router.acompletion(**body, stream=True), question)
