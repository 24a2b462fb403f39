"""A waiting line: tasks take turns, first come first served, on any number of event loops and threads.

The rules of this file:

- Whoever is first may take what the line is for, and leaves; then the next one is first, and is woken. Nothing is
  handed over, so nothing is lost on the way: a task that is cancelled, at whatever moment, merely leaves.
- A place is woken in its own loop. One whose loop was closed, or was left behind by a fork, is passed over.
- The lock is reentrant and held around bookkeeping only: a response that the garbage collector finds settles,
  and may wake a line, at any moment.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from threading import RLock
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Line:
    """Places in order of arrival; safe to share between threads and event loops.

    A task takes its turn like this; `permits.take` is anything that takes or says no::

        with line.join() as place:
            while not (place.first and permits.take()):
                await place.wait()

    and whoever returns a permit calls `line.wake()`.
    """

    def __init__(self) -> None:
        self._places: OrderedDict[Place, None] = OrderedDict()
        self._lock = RLock()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._places)

    def join(self) -> Place:
        """A place at the end, for the running task; leave it by `with`."""
        place = Place(self)
        with self._lock:
            self._places[place] = None
        return place

    def wake(self) -> None:
        """Have the first look again: something was given back, or has changed. From any thread."""
        with self._lock:
            while self._places:
                first = next(iter(self._places))
                if first.rouse():
                    return
                self._places.pop(first, None)

    def wake_all(self) -> None:
        """Have all look again."""
        with self._lock:
            for place in list(self._places):
                if not place.rouse():
                    self._places.pop(place, None)

    def is_first(self, place: Place) -> bool:
        """Is it this one's turn? Those before it that are gone are forgotten."""
        with self._lock:
            while (first := next(iter(self._places), None)) is not place:
                if first is None or not first.gone:
                    return False
                self._places.pop(first, None)
        return True

    def leave(self, place: Place) -> None:
        """Give a place up; if it was the first, the next one is woken. Safe to repeat."""
        with self._lock:
            was_first = next(iter(self._places), None) is place
            self._places.pop(place, None)
            if was_first:
                self.wake()


class Place:
    """One task's place in a line; `wait` belongs to its loop, the rest to any thread."""

    __slots__ = ("_future", "_line", "_loop", "_process", "_woken")

    def __init__(self, line: Line) -> None:
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._future: asyncio.Future[None] | None = None
        self._woken = False

    @property
    def first(self) -> bool:
        """Is it this one's turn?"""
        return self._line.is_first(self)

    @property
    def gone(self) -> bool:
        """Does nobody wait here any more? Its loop was closed, or runs in the process that this one was forked from."""
        return self._loop.is_closed() or self._process != os.getpid()

    async def wait(self, seconds: float | None = None) -> None:
        """Until it is woken, or so many seconds have passed; at once, if it was woken since the last wait."""
        if not self._woken:
            self._future = self._loop.create_future()
            timer = None if seconds is None else self._loop.call_later(seconds, self._wake)
            try:
                await self._future
            finally:
                self._future = None
                if timer is not None:
                    timer.cancel()
        self._woken = False

    def rouse(self) -> bool:
        """Wake it, from any thread. False if it is gone."""
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - documented for this use; the public one raises
            self._wake()
            return True
        if self.gone:
            return False
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # closed just now
            return False
        return True

    def _wake(self) -> None:
        self._woken = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def __enter__(self) -> Self:
        """The place itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Leave the line."""
        self._line.leave(self)
