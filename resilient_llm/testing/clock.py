"""Virtual time: hours of waiting in milliseconds, and the same every time."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
Args = TypeVarTuple("Args")

STALLED = 1.0
"""Real seconds without any event and without any timer after which a virtual loop is called deadlocked."""


class _SkippingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the loop's time to it."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.loop.threads:
            return super().select(STALLED)  # their time is real
        if timeout is None:
            ready = super().select(STALLED)  # another thread may still wake the loop
            if not ready:
                msg = "nothing is scheduled and nothing is ready: the tasks wait for each other"
                raise RuntimeError(msg)
            return ready
        self.loop.skip(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer whenever nothing is left to do. No sockets.

    While functions run in threads (`asyncio.to_thread`) time stands still.
    """

    def __init__(self) -> None:
        self.threads = 0
        self._virtual = 0.0
        selector = _SkippingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual

    def run_in_executor(self, executor: Any, func: Callable[[*Args], T], *args: *Args) -> asyncio.Future[T]:
        """Run a function in a thread."""
        running = super().run_in_executor(executor, func, *args)
        self.threads += 1
        running.add_done_callback(self._ran)
        return running

    def _ran(self, _: object) -> None:
        self.threads -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - asyncio's own
        """Wait for the threads; that takes real time."""
        self.threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self.threads -= 1

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
    """Run a coroutine in virtual time, like `asyncio.run`, and give its result.

    Raises:
        RuntimeError: Nothing is scheduled and nothing ready: its tasks wait for each other.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
