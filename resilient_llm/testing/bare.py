"""The client that people write by hand, for comparison: a POST, raise for status, read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


class BareClient:
    """Calls an OpenAI-compatible server over plain aiohttp, with one time limit and nothing else.

    Args:
        base_url: The address with `/v1`.
        timeout: Seconds for a whole call.
    """

    def __init__(self, base_url: str, *, timeout: float) -> None:
        self._url = f"{base_url}/chat/completions"
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the session."""
        await self._session.close()

    async def ask(self, body: Mapping[str, Any]) -> str:
        """Send a chat request, whole or streamed, and give the answer's text.

        Raises:
            Exception: Whatever aiohttp, JSON or a missing key raises.
        """
        async with self._session.post(self._url, json=body) as response:
            response.raise_for_status()
            if not body.get("stream"):
                answer = await response.json()
                return str(answer["choices"][0]["message"]["content"])
            text = ""
            async for line in response.content:
                if line.startswith(b"data: {"):
                    text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
            return text
