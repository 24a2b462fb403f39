"""Where a `Cache` keeps its answers for all processes of a fleet."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis.asyncio import Redis


class RedisStore:
    """A `CacheStore` in Redis: `Cache(store=state.cache_store())`. Entries end with their `max_age`.

    What Redis may take is set there (`maxmemory`, `maxmemory-policy`). `Cache` bounds how long a call waits for it, and
    lets go of its connections with the client.

    Args:
        connect: Makes the client of an event loop.
        namespace: What its keys begin with.
    """

    def __init__(self, connect: Callable[[], Redis], namespace: str) -> None:
        self._connect = connect
        self._namespace = namespace
        self._clients: dict[asyncio.AbstractEventLoop, _Client] = {}

    def __repr__(self) -> str:
        """The namespace."""
        return f"<RedisStore {self._namespace!r}>"

    async def get(self, key: str, /) -> bytes | None:
        """What is kept under the key."""
        with self._client() as redis:
            value = await redis.get(self._key(key))
        return value.encode() if isinstance(value, str) else value

    async def set(self, key: str, value: bytes, max_age: float, /) -> None:
        """Keep the value."""
        with self._client() as redis:
            await redis.set(self._key(key), value, px=max(1, int(max_age * 1000)))

    async def release(self) -> None:
        """Close the running loop's connections, unless somebody uses them now; a later use connects again."""
        client = self._clients.get(asyncio.get_running_loop())
        if client is not None and not client.users:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.redis.aclose()

    def _key(self, key: str) -> str:
        return f"{{{self._namespace}}}:cache:{key}"

    @contextmanager
    def _client(self) -> Iterator[Redis]:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            forget_closed(self._clients)
            client = self._clients[loop] = _Client(self._connect())
        client.users += 1
        try:
            yield client.redis
        finally:
            client.users -= 1


@attrs.define
class _Client:
    """That of one event loop, and how many use it now."""

    redis: Redis
    users: int = 0


def forget_closed(kept: dict[asyncio.AbstractEventLoop, Any]) -> None:
    """Let go of what is kept for loops that have ended: connections hold on to theirs, so weak keys would not do."""
    for loop in [loop for loop in tuple(kept) if loop.is_closed()]:
        kept.pop(loop, None)
