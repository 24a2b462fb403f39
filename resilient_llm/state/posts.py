"""What is sent to Redis, under which names, and how its answers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from resilient_llm.sharing import News
from resilient_llm.timeout import Timeout

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from redis.asyncio import Redis


@attrs.frozen(eq=False)
class Post:
    """One script to run.

    Args:
        script: Its text.
        keys: Its keys.
        args: Its arguments.
        answer: Who waits for what it gives; None: nobody.
    """

    script: str
    keys: tuple[str, ...]
    args: tuple[str | float, ...]
    answer: asyncio.Future[Any] | None = None


@attrs.frozen
class Names:
    """The names that a fleet's processes share in Redis; one hash slot of a cluster."""

    namespace: str

    @property
    def book(self) -> str:
        """The hash of circuits, cool-downs and budgets."""
        return f"{{{self.namespace}}}:book"

    @property
    def news(self) -> str:
        """The channel."""
        return f"{{{self.namespace}}}:news"

    @property
    def alive(self) -> str:
        """What tests write."""
        return f"{{{self.namespace}}}:alive"

    def limit(self, name: str) -> str:
        """The hash of a limit."""
        return f"{{{self.namespace}}}:limit:{name}"


def read(told: dict[str, Any]) -> News:
    """News as scripts tell them."""
    return News(told["f"], told["w"], float(told["v"]), int(told["e"]), float(told["d"]), str(told["y"]))


def hand(done: asyncio.Future[Any], late: Callable[[Any], None]) -> None:
    """Pass on an answer that came late."""
    if not done.cancelled() and done.result() is not None:
        late(done.result())


async def close(redis: Redis, patience: float) -> None:
    """Let go of it, whatever it says."""
    try:
        with Timeout(patience):
            await redis.aclose()
    except Exception:  # noqa: BLE001 - it is gone already
        return
