"""What is asked to conform: a client of a backend, and what is known of that backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import resilient_llm as rl


async def at_once() -> None:
    """There is nothing to wait for."""


@attrs.frozen
class Subject:
    """A backend at the other end of a client.

    Args:
        llm: The client, with the standard stack but without a token budget.
        model: The model that is asked for.
        window: Its context window in tokens, or None if it has none.
        calls: How many tools it is known to call at once, when it must call one.
        embedder: The model to embed with, if it is another.
        busy: Waits until the server works on a request.
        idle: Waits until it works on none.
    """

    llm: rl.AsyncClient
    model: str
    window: int | None = None
    calls: int = 1
    embedder: str | None = None
    busy: Callable[[], Awaitable[None]] = at_once
    idle: Callable[[], Awaitable[None]] = at_once
