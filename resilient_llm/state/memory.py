"""MemoryState: what stages share within one process."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Final

import attrs

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.policy.fleet_book import FleetBook, Record
from resilient_llm.policy.fleet_window import FleetWindow
from resilient_llm.sharing import News, Portions

from .ears import Ears

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from resilient_llm.sharing import Listener, Wanted

MAX_LIMITS: Final = 1024


class MemoryState:
    """What the stages of several clients share, in this process: the rules of `RedisState` without Redis. Thread-safe.

    Args:
        clock: Time.
    """

    peers = 1
    alone = False
    gone = False

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._book = FleetBook()
        self._windows: dict[tuple[str, float, float], FleetWindow] = {}
        self._ears = Ears()
        self._lock = RLock()

    async def ready(self) -> None:
        """It always is."""

    async def ask(self, operation: str, field: str, *args: float | str, late: Listener) -> News | None:
        """Do it."""
        del late
        return self._do(operation, field, args)

    async def lease(self, wanted: Sequence[Wanted], late: Callable[[Portions], None]) -> Portions | None:
        """Take a portion of each limit, or of none."""
        del late
        with self._lock:
            now = self._clock.monotonic()
            windows = [self._window(want, now) for want in wanted]
            for want, window in zip(wanted, windows, strict=True):
                window.put_back(want.unused, now)
            wait = max(window.wait(want.need, now) for want, window in zip(wanted, windows, strict=True))
            if wait:
                return Portions(wait=wait)
            return Portions(
                tuple(
                    window.take(want.need, want.more, now)
                    for want, window in zip(wanted, windows, strict=True)
                )
            )

    def tell(self, operation: str, field: str, *args: float | str) -> None:
        """Do it."""
        self._do(operation, field, args)

    def listen(self, prefix: str, hear: Listener, recall: Callable[[], None]) -> None:
        """Be told; what is known already, at once."""
        self._ears.add(prefix, hear, recall)
        with self._lock:
            now = self._clock.monotonic()
            known = [_news(field, record, now) for field, record in self._book.living(now).items()]
        for news in known:
            if news.field.startswith(prefix):
                hear(news)

    async def aclose(self) -> None:
        """Nothing to close."""

    def _do(self, operation: str, field: str, args: tuple[Any, ...]) -> News:
        with self._lock:
            now = self._clock.monotonic()
            act = getattr(self._book, "give_back" if operation == "return" else operation)
            changed, record = act(field, *args, now)
            news = _news(field, record, now)
        if operation == "claim":
            return attrs.evolve(news, word="granted") if changed else news
        if changed:
            self._ears.hear(news)
        return news

    def _window(self, want: Wanted, now: float) -> FleetWindow:
        key = (want.name, want.allowance, want.slot)
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= MAX_LIMITS:
                self._windows = {name: kept for name, kept in self._windows.items() if kept.used(now)}
            window = self._windows[key] = FleetWindow(want.allowance, want.slot)
        return window


def _news(field: str, record: Record, now: float) -> News:
    word, value = record.told(now)
    return News(field, word, value, record.epoch, record.amount, record.why)
