"""A time limit on the awaits of a block: `asyncio.timeout` as a plain context manager.

The same rules as the standard library's (a limit that strikes cancels the task, and only a cancellation that was
the limit's own becomes `TimeoutError`), at less than half the cost: every call passes two of these, and every read of
a stream one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Timeout:
    """Raises `TimeoutError` from a block whose awaits took longer than allowed.

    Attributes:
        expired: Did the limit strike?

    Args:
        seconds: How long; None: as long as it takes. May be 0: then the first await that suspends is too long.
    """

    __slots__ = ("_cancelling", "_handle", "_seconds", "_task", "expired")

    def __init__(self, seconds: float | None) -> None:
        self.expired = False
        self._seconds = seconds
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> Self:
        """Start the clock."""
        self._task = asyncio.current_task()
        if self._task is None:
            msg = "a time limit needs a task to cancel"
            raise RuntimeError(msg)
        self._cancelling = self._task.cancelling()
        self._start()
        return self

    def restart(self, seconds: float | None) -> None:
        """Allow so many seconds from now."""
        if not self.expired:
            self._stop()
            self._seconds = seconds
            self._start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stop the clock, and take back a cancellation that was the limit's own."""
        self._stop()
        if not self.expired or self._task is None:
            return
        if (
            self._task.uncancel() <= self._cancelling
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise TimeoutError from exc

    def _start(self) -> None:
        if self._seconds is not None:
            self._handle = asyncio.get_running_loop().call_later(self._seconds, self._strike)

    def _stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _strike(self) -> None:
        self.expired = True
        self._handle = None
        if self._task is not None:
            self._task.cancel()
