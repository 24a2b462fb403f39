"""Virtual time: hours of waiting in milliseconds, and the same every time."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

STALLED = 1.0
"""Real seconds without any event and without any timer after which a virtual loop is called deadlocked."""


class _SkippingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the loop's time to it."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(STALLED)  # another thread may still wake the loop
            if not ready:
                msg = "nothing is scheduled and nothing is ready: the tasks wait for each other"
                raise RuntimeError(msg)
            return ready
        self.loop.skip(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer whenever nothing is left to do. No sockets."""

    def __init__(self) -> None:
        self._virtual = 0.0
        selector = _SkippingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual

    def skip(self, seconds: float) -> None:
        """Let time pass at once."""
        self._virtual += seconds


class FakeClock:
    """A `Clock` for tests.

    In a `VirtualTimeLoop` it shows the loop's time; elsewhere time stands still until `advance`.

    Args:
        epoch: Wall time at the start, in seconds since 1970.
    """

    def __init__(self, epoch: float = 1_800_000_000.0) -> None:
        self._epoch = epoch
        self._advanced = 0.0

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self._advanced + _loop_time()

    def time(self) -> float:
        """Seconds since 1970."""
        return self._epoch + self.monotonic()

    def advance(self, seconds: float) -> None:
        """Let time pass; the loop's own timers do not see it."""
        self._advanced += seconds

    async def sleep(self, seconds: float) -> None:
        """Sleep in the loop's time."""
        await asyncio.sleep(seconds)


def _loop_time() -> float:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return 0.0
    return loop.time() if isinstance(loop, VirtualTimeLoop) else 0.0


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time, like `asyncio.run`."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
