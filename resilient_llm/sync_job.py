"""A coroutine on an event loop, and the thread that waits for what it hands over."""

from __future__ import annotations

import asyncio
import sys
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

READ_AHEAD: Final = 256
"""How many items may wait for the thread before the coroutine is held up."""
READ_ON: Final = 64
"""How many may still wait when it goes on."""
CLEAN_UP: Final = 2.0
"""Seconds that a cancelled job has for its clean-up."""
TICK: Final[float | None] = 0.1 if sys.platform == "win32" else None
"""Seconds for which a wait may be deaf to Ctrl-C: on Windows a lock is, for as long as it is waited for."""


@attrs.frozen
class Done:
    """The last that a job hands over: how it ended."""

    value: Any = None
    error: BaseException | None = None


class Job(Generic[T]):
    """One coroutine, and its inbox at the thread that waits: any number of items, and `Done`.

    The coroutine sees the context variables of the thread that submits the job. No exception leaves it for the loop:
    the thread gets all of them.

    Args:
        make: Called on the loop with the job, to which the coroutine gives its items.
    """

    def __init__(self, make: Callable[[Job[T]], Coroutine[Any, Any, T]]) -> None:
        self.owner = threading.current_thread()
        self.ended = False
        self.inherited = False
        self._make = make
        self._inbox: SimpleQueue[object] = SimpleQueue()
        self._room: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._on_end: Callable[[Job[Any]], object] | None = None

    def submit(self, loop: asyncio.AbstractEventLoop, on_end: Callable[[Job[Any]], object]) -> None:
        """Have it begun on a loop that runs in another thread, and `on_end` called there when it has ended."""
        self._loop, self._on_end = loop, on_end
        loop.call_soon_threadsafe(self._start, loop)  # which takes the thread's context variables along

    # On the loop ...

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            value = await self._make(self)
        except BaseException as exc:  # noqa: BLE001 - the thread that waits is to have it, whatever it is
            self.finish(Done(error=exc))
        else:
            self.finish(Done(value))

    def finish(self, done: Done) -> None:
        """Tell the thread how it ended; only the first time counts."""
        if not self.ended:
            self.ended = True
            self._inbox.put(done)
            if self._on_end is not None:
                self._on_end(self)

    def put(self, item: object) -> bool:
        """Hand an item over. True if the thread lags so far behind that the coroutine should wait for `room`."""
        self._inbox.put(item)
        return self._inbox.qsize() >= READ_AHEAD

    async def room(self) -> None:
        """Wait until the thread has caught up."""
        self._room = asyncio.get_running_loop().create_future()
        try:
            if self._inbox.qsize() > READ_ON:  # else it caught up before it could see that it is waited for
                await self._room
        finally:
            self._room = None

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task.add_done_callback(self._cancelled)

    def _cancelled(self, _: asyncio.Task[None]) -> None:
        self.finish(Done(error=asyncio.CancelledError()))  # where it was cancelled before it began

    # In the thread ...

    def take(self) -> object:
        """The next item, or `Done`, which stays the last for ever. Blocks until it is there."""
        inbox = self._inbox
        if self.inherited and inbox.empty():
            msg = "the answer is read by the process that asked, not by its child: ask again"
            raise RuntimeError(msg)
        item = inbox.get() if TICK is None else _get(inbox, TICK)
        if self._room is not None and inbox.qsize() <= READ_ON:
            self._tell(self._make_room)
        if type(item) is Done:
            inbox.put(Done())
        return item

    def result(self) -> T:
        """Wait for the end of a job that hands over nothing before.

        Raises:
            BaseException: What ended it; a cancellation as `RuntimeError`, for the thread was not cancelled.
        """
        done = self.take()
        try:
            value: T = outcome(cast("Done", done))
            return value
        finally:
            del done, self  # an error has its traceback, the traceback its frames

    def cancel(self) -> None:
        """Have it cancelled, and do not wait for that. From any thread."""
        if not (self.ended or self.inherited):
            self._tell(self._cancel)

    def abandon(self, because: Exception | None = None) -> None:
        """Have it cancelled, and wait for its clean-up; what it had handed over is dropped.

        Args:
            because: What is raised to whoever goes on taking. Default: nothing, there is no more.
        """
        if self._loop is None:
            return  # it was never begun
        self.cancel()
        try:
            while not (self.inherited or isinstance(self._inbox.get(timeout=CLEAN_UP), Done)):
                pass
        except Empty:
            pass
        self._inbox.put(Done(error=because))

    def mute(self) -> None:
        """Have the thread wait for ever, as those do that end with the interpreter."""
        self._inbox = SimpleQueue()

    def _tell(self, what: Callable[[], None]) -> None:
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            pass  # the loop has ended, and every job with it


def _get(inbox: SimpleQueue[object], tick: float) -> object:
    while True:
        try:
            return inbox.get(timeout=tick)
        except Empty:
            continue


def outcome(done: Done) -> Any:
    """The value of a job, or its error, raised here."""
    error = done.error
    try:
        if isinstance(error, asyncio.CancelledError):
            msg = "the call was cancelled: the client was closed while it ran"
            raise RuntimeError(msg) from error  # noqa: TRY004 - no type was wrong
        if error is not None:
            raise error
        return done.value
    finally:
        del done, error  # as above
