"""Who listens to news, held weakly: a state may outlive the clients that share it."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING
from weakref import WeakMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_llm.sharing import Listener, News


class Ears:
    """Methods by the beginning of the fields that they hear of; thread-safe."""

    def __init__(self) -> None:
        self._ears: list[tuple[str, WeakMethod[Listener], WeakMethod[Callable[[], None]]]] = []
        self._lock = RLock()

    def add(self, prefix: str, hear: Listener, recall: Callable[[], None]) -> None:
        """One more."""
        with self._lock:
            self._ears = [ear for ear in self._ears if ear[1]() is not None]
            self._ears.append((prefix, WeakMethod(hear), WeakMethod(recall)))

    def hear(self, news: News) -> None:
        """Tell those whom it concerns."""
        for prefix, ear, _ in tuple(self._ears):
            if news.field.startswith(prefix) and (hear := ear()) is not None:
                hear(news)

    def recall(self) -> None:
        """Ask all to tell what they know."""
        for recall in self._recalls():
            recall()

    def _recalls(self) -> Iterator[Callable[[], None]]:
        for _, _, ear in tuple(self._ears):
            if (recall := ear()) is not None:
                yield recall
