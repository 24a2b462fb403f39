"""Time limits on awaits, by the rules of `asyncio.timeout` and at a fraction of its cost.

A limit that strikes cancels the task; only a cancellation that was the limit's own becomes `TimeoutError`, one from
outside stays a cancellation. Every call passes two limits and every read of a stream one.
"""

from __future__ import annotations

import asyncio
import math
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

NEVER: Final = math.inf


class Alarm:
    """The one timer of an event loop that all its limits share.

    A timer of its own for each limit would cost more than all else that a stage does: nearly all are cancelled, and
    cancelled timers stay in the loop's heap for a while. This one is set for the earliest limit; when it rings, it
    strikes what is due and is set for the earliest of the rest. Limits that are over by then cost it nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._watches: set[Watch] = set()
        self._handle: asyncio.TimerHandle | None = None
        self._due = NEVER
        self.discard: Callable[[Watch], None] = self._watches.discard

    def add(self, watch: Watch) -> None:
        """Ring when the watch is due, until it is discarded."""
        self._watches.add(watch)
        if watch.due < self._due:
            self._set(watch.due)

    def _set(self, due: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._due = due
        self._handle = self.loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._handle, self._due = None, NEVER
        now = self.loop.time()
        for watch in [watch for watch in self._watches if watch.due <= now]:
            self._watches.discard(watch)
            watch.strike()
        if self._watches:
            self._set(min(watch.due for watch in self._watches))


class _Thread(threading.local):
    """The alarm of the loop that runs in a thread: a loop's timers belong to the loop."""

    alarm: Alarm | None = None


_thread = _Thread()


def _alarm() -> Alarm:
    loop = asyncio.get_running_loop()
    alarm = _thread.alarm
    if alarm is None or alarm.loop is not loop:
        alarm = _thread.alarm = Alarm(loop)
    return alarm


class Watch:
    """Bounds one stretch of awaits after the other.

    Attributes:
        due: The loop's time at which it strikes.
        expired: Did it strike?
    """

    __slots__ = ("_alarm", "_cancelling", "_task", "due", "expired")

    def __init__(self) -> None:
        self.due = 0.0
        self.expired = False
        self._alarm = _alarm()

    def begin(self, seconds: float | None) -> None:
        """Watch the running task from here on; None: without a limit."""
        task = asyncio.current_task()
        if task is None:
            msg = "a time limit needs a task to cancel"
            raise RuntimeError(msg)
        self._task = task
        self._cancelling = task.cancelling()
        if seconds is not None:
            self.due = self._alarm.loop.time() + seconds
            self._alarm.add(self)

    def resume(self) -> None:
        """Go on after an `end` that brought nothing, up to the same instant."""
        self.begin(None)
        self._alarm.add(self)

    def restart(self, seconds: float | None) -> None:
        """Allow so many seconds from now."""
        self._alarm.discard(self)
        if seconds is not None and not self.expired:
            self.due = self._alarm.loop.time() + seconds
            self._alarm.add(self)

    def end(self, exc: BaseException | None) -> bool:
        """The stretch is over, with an exception or without. Was that exception the limit's own cancellation?"""
        self._alarm.discard(self)
        if not self.expired:
            return False
        return self._task.uncancel() <= self._cancelling and isinstance(exc, asyncio.CancelledError)

    def strike(self) -> None:
        """The time is up."""
        self.expired = True
        self._task.cancel()


class Timeout(Watch):
    """Raises `TimeoutError` from a `with` block whose awaits took longer than allowed.

    Args:
        seconds: How long. May be 0: then the first await that suspends is too long.
    """

    __slots__ = ("_seconds",)

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._alarm = _alarm()
        self._seconds = seconds

    def __enter__(self) -> Self:
        """Start the clock."""
        self.begin(self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stop the clock, and take back a cancellation that was the limit's own."""
        if not self.expired:
            self._alarm.discard(self)
        elif self.end(exc):
            raise TimeoutError from exc
