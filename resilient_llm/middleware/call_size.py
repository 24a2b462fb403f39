"""How many tokens a call will take, before it is sent; and what of it is counted."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

from resilient_llm.tokens import ChatCounter
from resilient_llm.tokens.definitions import Offered

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_llm.models import Request
    from resilient_llm.tokens.costs import MessageCosts

LARGE: Final = 20_000
"""Tokens; what may be larger is counted beside the event loop, for it takes milliseconds."""

DEFINITIONS: Final = tuple(Offered.__annotations__)


def answer_limit(request: Request) -> int | None:
    """What the caller allows the answer; None if that is left to the backend."""
    asked = request.params.get("max_completion_tokens", request.params.get("max_tokens"))
    return asked if isinstance(asked, int) and asked > 0 else None


def offered(request: Request) -> Offered:
    """What the request holds beside its messages and costs tokens."""
    params = request.params
    return cast("Offered", {name: params[name] for name in DEFINITIONS if params.get(name)}) if params else {}


class CallSizes:
    """Measures prompts: counted as the model does, or roughly, by their characters.

    A prompt that is malformed, or of which only the bytes are known, counts as nothing: others will complain.
    """

    def __init__(self) -> None:
        self._counters: Callable[[str], ChatCounter] = lru_cache(64)(ChatCounter)
        self._rough: MessageCosts | None = None

    async def counted(self, request: Request) -> int:
        """The prompt's tokens, counted with the model's vocabulary, or with others on the safe side."""
        counter = self._counters(request.model)
        try:
            if counter.ready and counter.fits_by_bytes(request.messages, LARGE):
                return _count(counter, request)
            return await asyncio.to_thread(_count, counter, request)
        except (TypeError, ValueError):
            return 0

    def roughly(self, request: Request) -> int:
        """A quarter of the prompt's characters, without the tools: in microseconds, and without a vocabulary."""
        if self._rough is None:
            from resilient_llm.tokens.costs import MessageCosts  # noqa: PLC0415 - only those with limits need it

            self._rough = MessageCosts(_quarter)
        try:
            messages = sum(map(self._rough.message, request.messages))
            besides = self._rough.content(request.params.get("system"))  # Anthropic's
            return messages + besides + sum(map(_quarter, _texts(request)))
        except (TypeError, ValueError):
            return 0


def _count(counter: ChatCounter, request: Request) -> int:
    texts = sum(map(counter.text, _texts(request)))
    if not request.messages:
        return texts
    return texts + counter.conversation(request.messages) + counter.definitions(**offered(request))


def _texts(request: Request) -> list[str]:
    """What is to be embedded."""
    given = request.params.get("input") if request.operation == "embed" else None
    if isinstance(given, str):
        return [given]
    return [text for text in given if isinstance(text, str)] if isinstance(given, list | tuple) else []


def _quarter(text: str) -> int:
    return (len(text) + 3) // 4
