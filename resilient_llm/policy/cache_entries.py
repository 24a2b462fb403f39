"""What a cache holds: bounded in number, in bytes and in age."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final

import attrs

from resilient_llm.validators import count

OVERHEAD: Final = 200
"""What an entry takes beside its key and its value, in bytes."""


@attrs.define(kw_only=True, eq=False)
class CacheEntries:
    """Values by key, the least recently used go first; thread-safe.

    Args:
        max_entries: How many there may be.
        max_bytes: What they may take, keys and overhead included; a value that is larger by itself is not kept.

    Attributes:
        size: What they take now.
    """

    max_entries: int = attrs.field(validator=count)
    max_bytes: int = attrs.field(validator=count)
    size: int = attrs.field(default=0, init=False)
    _entries: OrderedDict[str, tuple[bytes, float]] = attrs.field(factory=OrderedDict, init=False, repr=False)
    _lock: Lock = attrs.field(factory=Lock, init=False, repr=False)

    def __len__(self) -> int:
        """How many there are; some of them may be too old to be found."""
        return len(self._entries)

    def get(self, key: str, now: float) -> bytes | None:
        """The value, unless there is none or it is too old."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            value, until = entry
            if now >= until:
                self._drop(key)
                return None
            self._entries.move_to_end(key)
            return value

    def put(self, key: str, value: bytes, until: float) -> None:
        """Keep a value until then, in place of an older one, or until there is no room for it."""
        with self._lock:
            if key in self._entries:
                self._drop(key)
            added = _size(key, value)
            if added > self.max_bytes:
                return
            self._entries[key] = (value, until)
            self.size += added
            while len(self._entries) > self.max_entries or self.size > self.max_bytes:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self.size = 0

    def _drop(self, key: str) -> None:
        value, _ = self._entries.pop(key)
        self.size -= _size(key, value)


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + OVERHEAD
