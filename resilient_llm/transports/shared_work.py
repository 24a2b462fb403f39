"""Work that is done once for all who want its result at the same time.

It runs in a task of its own, so that whoever leaves early takes it from nobody else; when the last one has left it
is cancelled. A task belongs to its event loop: who comes from another loop has the work done there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Value = TypeVar("Value")


class SharedWork(Generic[Value]):
    """Joins the work under way, or begins it."""

    def __init__(self) -> None:
        self._current: _Work[Value] | None = None

    async def join(self, begin: Callable[[], Coroutine[object, object, Value]]) -> Value:
        """The result of the work under way; of `begin()` if there is none. Everyone waiting gets what it raises."""
        work = self._current
        if work is None or not work.goes_on_here():
            work = self._current = _Work(asyncio.ensure_future(begin()))
        work.waiting += 1
        try:
            return await asyncio.shield(work.task)
        finally:
            work.waiting -= 1
            if not work.waiting:
                work.task.cancel()
                if self._current is work:
                    self._current = None


class _Work(Generic[Value]):
    def __init__(self, task: asyncio.Task[Value]) -> None:
        self.task = task
        self.waiting = 0

    def goes_on_here(self) -> bool:
        return not self.task.done() and self.task.get_loop() is asyncio.get_running_loop()
