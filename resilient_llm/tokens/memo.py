"""Each text is counted once."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_ENTRY = 100  # what an entry takes beside its text, in characters


class Memo:
    """A function of a text that remembers its results; the least recently used go first. Thread-safe.

    Args:
        count: The function.
        characters: How much text to hold on to, all in all.
    """

    def __init__(self, count: Callable[[str], int], *, characters: int = 8_000_000) -> None:
        self._count = count
        self._room = characters
        self._lock = Lock()
        self._results: OrderedDict[str, int] = OrderedDict()

    def __call__(self, text: str) -> int:
        """The function's result for this text."""
        with self._lock:
            result = self._results.get(text)
            if result is not None:
                self._results.move_to_end(text)
                return result
        result = self._count(text)  # outside the lock: it may take long
        self._remember(text, result)
        return result

    def _remember(self, text: str, result: int) -> None:
        with self._lock:
            if text in self._results:
                return
            self._results[text] = result
            self._room -= len(text) + _ENTRY
            while self._room < 0:
                forgotten, _ = self._results.popitem(last=False)
                self._room += len(forgotten) + _ENTRY
