"""Where a cache keeps its answers: a small protocol, and a store in memory."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.policy.cache_entries import CacheEntries


@runtime_checkable
class CacheStore(Protocol):
    """Keeps bytes under keys (64 hexadecimal digits), for `Cache`. It may raise and be slow: no call fails of it.

    One with an `async release()` is asked to let go of its connections when a client that uses it is closed.
    """

    async def get(self, key: str, /) -> bytes | None:
        """What is kept under the key; None if there is nothing, or if it is too old."""
        ...

    async def set(self, key: str, value: bytes, max_age: float, /) -> None:
        """Keep the value for so many seconds at most."""
        ...


class MemoryStore:
    """A store in this process, bounded; the answers that were not asked for the longest go first. Thread-safe.

    Args:
        max_entries: How many answers.
        max_bytes: What they may take, all in all: 64 MiB. A larger answer is not kept.
        clock: Time.

    Raises:
        TypeError: A bound is no whole number.
        ValueError: A bound below 0.
    """

    def __init__(
        self, *, max_entries: int = 1000, max_bytes: int = 64 * 1024 * 1024, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._entries = CacheEntries(max_entries=max_entries, max_bytes=max_bytes)
        self._clock = clock

    def __repr__(self) -> str:
        """How much it holds."""
        return f"<MemoryStore {len(self._entries)} entries, {self._entries.size} bytes>"

    async def get(self, key: str, /) -> bytes | None:
        """What is kept under the key."""
        return self._entries.get(key, self._clock.monotonic())

    async def set(self, key: str, value: bytes, max_age: float, /) -> None:
        """Keep the value."""
        self._entries.put(key, value, self._clock.monotonic() + max_age)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
