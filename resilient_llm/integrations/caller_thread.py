"""Stages for functions that are not asynchronous: they run on an event loop, the function in the thread that calls it.

The rules of this file:

- The thread waits for the stages, and does what they ask of it meanwhile: an `Errand`, one at a time.
- An errand cannot be interrupted. Who no longer waits for it is not told how it ended.
- Whatever is no `Exception` leaves the thread at once, and cancels the stages.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import attrs

from resilient_llm.sync_job import Done, Job, outcome
from resilient_llm.sync_loop import LoopThread

from .own_errors import judged

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

THREAD: Final = LoopThread(None, lambda: None)
"""One loop for the stages of all functions of this process, so that they can share limits; started when needed."""


@attrs.frozen
class Item:
    """One that a generator has yielded."""

    value: Any


class Errand(Generic[T]):
    """Something for the thread to do.

    Args:
        what: What.
        name: The function's name, for errors.
    """

    def __init__(self, what: Callable[[], T], name: str) -> None:
        self._what = what
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[tuple[T | None, Exception | None]] = self._loop.create_future()

    async def done(self) -> T:
        """Wait until it is; on the loop."""
        value, error = await self._ended
        try:
            if error is not None:
                raise error
            return cast("T", value)
        finally:
            del error, self

    def run(self) -> None:
        """Do it; in the thread."""
        value: T | None = None
        error: Exception | None = None
        try:
            value = self._what()
        except Exception as exc:  # noqa: BLE001 - the stages judge it
            error = judged(exc, self._name)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and every job with it
            self._loop.call_soon_threadsafe(self._tell, value, error)
        del error

    def _tell(self, value: T | None, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result((value, error))


def call(make: Callable[[Job[T]], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on the loop, and its errands here, until it has a result."""
    job = Job(make)
    try:
        THREAD.submit(job)
        while not isinstance(item := job.take(), Done):
            cast("Errand[Any]", item).run()
        return cast("T", outcome(item))
    finally:
        job.abandon()  # of which nothing is left, unless an errand or the wait was interrupted


def iterate(make: Callable[[Job[None]], Coroutine[Any, Any, None]]) -> Iterator[Any]:
    """Run a coroutine on the loop, and its errands here, and yield the items that it puts."""
    job = Job(make)
    try:
        THREAD.submit(job)
        while not isinstance(item := job.take(), Done):
            if isinstance(item, Item):
                yield item.value
            else:
                cast("Errand[Any]", item).run()
        outcome(item)
    finally:
        job.cancel()  # without a wait: the garbage collector may have come here, in whatever thread
