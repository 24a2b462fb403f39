"""`auto`: whichever local server answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from yarl import URL

from resilient_llm.errors import BackendFailure, ModelUnavailableError
from resilient_llm.middleware import ErrorClassifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from resilient_llm.models import Message, Request
    from resilient_llm.response import Response
    from resilient_llm.transports import OpenAICompatibleTransport

PROBE_SECONDS: Final = 0.4
STATUS_NOT_IMPLEMENTED: Final = 501


class AutomaticTransport:
    """Hands requests to the first of several servers that is up.

    All are tried at once when the first request comes, and again when the chosen one can no longer be reached. A
    server is up if it takes a connection within 0.4 s.

    Args:
        candidates: The servers' transports, the preferred one first.
        probe: Tells whether a server is up.

    Raises:
        ModelUnavailableError: From each call while no server is up; it names the addresses and what to start.
    """

    def __init__(
        self,
        candidates: Sequence[OpenAICompatibleTransport],
        *,
        probe: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        self.name = "auto"
        self._candidates = tuple(candidates)
        self._probe = probe or connects
        self._chosen: OpenAICompatibleTransport | None = None

    def __repr__(self) -> str:
        """The choice, or what there is to choose from."""
        return f"<AutomaticTransport {self._chosen or list(self._candidates)}>"

    async def __call__(self, request: Request) -> Response:
        """Send the request to the chosen server; its errors carry that server's name."""
        chosen = self._chosen or await self._choose()
        try:
            return await ErrorClassifier(backend=chosen.name)(request, chosen)
        except ModelUnavailableError as error:
            if error.status is None:  # it could not be reached
                self._chosen = None
            raise

    async def count_tokens(self, prompt: str | Sequence[Message]) -> int:
        """Count with the chosen server's tokenizer.

        Raises:
            BackendFailure: It has none.
        """
        chosen = self._chosen or await self._choose()
        count: Callable[[object], Awaitable[int]] | None = getattr(chosen, "count_tokens", None)
        if count is None:
            raise BackendFailure(STATUS_NOT_IMPLEMENTED, {}, "")
        return await count(prompt)

    def context_window(self, model: str) -> int | None:
        """The window of a model in tokens, if the chosen server has told it."""
        return self._chosen.context_window(model) if self._chosen else None

    async def aclose(self) -> None:
        """Close all of them."""
        for candidate in self._candidates:
            await candidate.aclose()

    async def _choose(self) -> OpenAICompatibleTransport:
        up = await asyncio.gather(*(self._probe(candidate.base_url) for candidate in self._candidates))
        for candidate, answers in zip(self._candidates, up, strict=True):
            if answers:
                self._chosen, self.name = candidate, candidate.name
                return candidate
        tried = ", ".join(
            f"{candidate.label} at {candidate.base_url} (start it with: {candidate.start_hint})"
            for candidate in self._candidates
        )
        msg = f"no local server answers; tried {tried}; or name a backend with llm_provider"
        was_there = self.name != "auto"  # then it may come back; else nobody has started one yet
        raise ModelUnavailableError(msg, backend="auto", retryable=was_there, backend_fault=False)


async def connects(url: str) -> bool:
    """Does a server at this address take a connection soon?"""
    address = URL(url)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port, happy_eyeballs_delay=0.1)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
