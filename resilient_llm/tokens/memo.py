"""Each text is counted once."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_ENTRY = 100  # what an entry takes beside its text, in characters


class Memo:
    """A function of a text that remembers its results. Thread-safe.

    There are two generations, each of half the room. When the young one is full it becomes the old one, whose texts
    go, but for those that were asked for since: nearly the least recently used first, and a result that is
    remembered costs a single look-up without a lock.

    Args:
        count: The function.
        characters: How much text to hold on to, all in all.
    """

    def __init__(self, count: Callable[[str], int], *, characters: int = 8_000_000) -> None:
        self._count = count
        self._half = characters // 2
        self._lock = Lock()
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._size = 0

    def __call__(self, text: str) -> int:
        """The function's result for this text."""
        result = self._young.get(text)
        if result is not None:
            return result
        result = self._old.get(text)
        if result is None:
            result = self._count(text)  # outside the lock: it may take long
        self._remember(text, result)
        return result

    def _remember(self, text: str, result: int) -> None:
        size = len(text) + _ENTRY
        if size > self._half:
            return
        with self._lock:
            if text in self._young:
                return
            if self._size + size > self._half:
                self._old, self._young, self._size = self._young, {}, 0
            self._young[text] = result
            self._size += size
