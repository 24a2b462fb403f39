"""The event loop of a blocking client: in a daemon thread of its own, made anew after a fork.

The rules of this file:

- A `LoopThread` is what a client has, `Running` one loop from its start to its end; the thread knows only the
  latter, so that a client which is dropped takes its thread along.
- A fork waits until every loop is between two callbacks, where it holds no lock. The child leaves what it inherited
  alone for ever: selectors and sockets are the parent's, and closing a copy of them would deafen it.
- Whoever waits for a job gets an answer: from the job, from its cancellation, or when the thread ends.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .calls import closed_early
from .sync_job import CLEAN_UP, Done, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

HOLD: Final = 1.0
"""Seconds that a fork waits for a loop which is busy."""


class Running:
    """An event loop, from its start to its end.

    Args:
        keep: What the loop's callbacks work on; it must live as long as the thread, in a forked child for ever.
    """

    def __init__(self, keep: object) -> None:
        self.inherited = False
        self.ending = False
        self.jobs: set[Job[Any]] = set()
        self.loop = asyncio.new_event_loop()
        self._keep = keep
        self._lock = threading.RLock()  # a finalizer may stop it anywhere, in the midst of this, too
        self._stop = asyncio.Event()
        self.thread = threading.Thread(target=self._main, name="resilient_llm", daemon=True)
        try:
            self.thread.start()
        except RuntimeError:  # no thread can be had
            self.loop.close()
            raise

    @property
    def usable(self) -> bool:
        """Does it take jobs?"""
        return not (self.ending or self.inherited)

    def submit(self, job: Job[Any]) -> None:
        """Begin a job."""
        with self._lock:
            if self.ending:
                raise closed()
            self.jobs.add(job)
            job.submit(self.loop, self.jobs.discard)

    def stop(self) -> None:
        """Cancel what runs and end the thread; does not wait for it. From any thread, and safe to repeat."""
        if self.inherited:
            return
        with self._lock, contextlib.suppress(RuntimeError):  # the loop may have ended by itself
            self.ending = True
            self.loop.call_soon_threadsafe(self._stop.set)

    def join(self) -> None:
        """Wait for the thread, but not for one that does not end."""
        if threading.current_thread() is not self.thread:
            self.thread.join(CLEAN_UP)

    def hold(self, released: threading.Event) -> threading.Event:
        """Have the loop stand still until it is released; the event tells when it does."""
        held = threading.Event()

        def stand_still() -> None:
            held.set()
            released.wait(HOLD)

        if threading.current_thread() is self.thread:
            held.set()
        else:
            try:
                self.loop.call_soon_threadsafe(stand_still)
            except RuntimeError:
                held.set()
        return held

    def _main(self) -> None:
        try:
            self.loop.run_until_complete(self._serve())
        finally:
            with self._lock:
                self.ending = True
            self.loop.close()
            for job in tuple(self.jobs):
                job.finish(Done(error=asyncio.CancelledError()))
            _loops.running.discard(self)

    async def _serve(self) -> None:
        await self._stop.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLEAN_UP)
        await self.loop.shutdown_asyncgens()


class LoopThread:
    """Runs coroutines for threads that wait; the loop is started when first needed.

    Args:
        keep: See `Running`.
        renew: Called in a forked child before its own loop starts.
    """

    def __init__(self, keep: object, renew: Callable[[], object]) -> None:
        self._keep = keep
        self._renew = renew
        self._running: Running | None = None
        self._closed = False

    @property
    def started(self) -> bool:
        """Is there a loop that takes jobs?"""
        return self._running is not None and self._running.usable

    def run(self, make: Callable[[Job[T]], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine and wait for its result. A `KeyboardInterrupt` of the thread cancels it.

        Raises:
            RuntimeError: The client is closed, or this is its own event loop.
        """
        if self._closed:
            raise closed()
        return self._run(Job(make))

    def submit(self, job: Job[Any]) -> None:
        """Begin a job, and do not wait. Raises what `run` raises."""
        if self._closed:
            raise closed()
        self._begin(job)

    def _run(self, job: Job[T]) -> T:
        try:
            self._begin(job)
            return job.result()
        finally:
            job.abandon()  # of which nothing is left, unless the wait was interrupted

    def _begin(self, job: Job[Any]) -> None:
        running = self._current()
        if running.thread is threading.current_thread():
            msg = "a blocking call inside the client's own event loop would wait for itself: use AsyncClient there"
            raise RuntimeError(msg)
        running.submit(job)

    def close(self, make: Callable[[Job[None]], Coroutine[Any, Any, None]]) -> None:
        """Refuse new jobs, end those that nobody else waits for, run a last coroutine, end the thread. Once."""
        with _loops.lock:
            if self._closed:
                return
            self._closed = True
        last, running = Job(make), self._current()
        for job in tuple(running.jobs):
            if job.owner is last.owner or not job.owner.is_alive():
                job.abandon(closed_early())
        try:
            self._run(last)
        finally:
            running.stop()
            running.join()

    def _current(self) -> Running:
        running = self._running
        if running is None or not running.usable:
            with _loops.lock:
                running = self._running
                if running is None or not running.usable:
                    if running is not None and running.inherited:
                        self._renew()
                    running = self._running = Running(self._keep)
                    _loops.running.add(running)
                    weakref.finalize(
                        self, running.stop
                    ).atexit = False  # the interpreter's end has its own way
        return running


def closed() -> RuntimeError:
    """What a call of a closed client raises."""
    return RuntimeError("the client is closed: make a new one")


class _Loops:
    """All loops of this process: a fork and the interpreter's end concern every one of them."""

    def __init__(self) -> None:
        self.running: set[Running] = set()
        self.lock = threading.Lock()
        self._released = threading.Event()
        atexit.register(self._exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child
            )

    def _before(self) -> None:
        self.lock.acquire()  # one fork after the other, and no loop that is half started
        self._released = threading.Event()
        for held in [running.hold(self._released) for running in tuple(self.running)]:
            held.wait(HOLD)

    def _in_parent(self) -> None:
        self._released.set()
        self.lock.release()

    def _in_child(self) -> None:
        self.lock = threading.Lock()
        for running in self.running:
            running.inherited = True
            for job in running.jobs:
                job.inherited = True
        self.running.clear()

    def _exit(self) -> None:
        """Close the connections of clients that nobody closed, without a word to threads that end now anyway."""
        left = tuple(self.running)
        for running in left:
            for job in tuple(running.jobs):
                job.mute()
            running.stop()
        for running in left:
            running.join()


_loops: Final = _Loops()
"""The only state that clients share: hooks of the interpreter belong to the process."""
