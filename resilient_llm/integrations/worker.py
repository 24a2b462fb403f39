"""What a blocking library does, for an event loop that waits.

The rules of this file:

- One thread for each answer, from its request to its end: a slow one holds up no other. The threads are daemons: the
  interpreter's end waits for none of them.
- Nothing interrupts blocking work. Whoever no longer waits for it puts its clean-up behind it, and leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Worker:
    """A thread that does one thing after the other, with the context variables of whoever made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._todo: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(_work, self._loop, self._todo), name="resilient_llm call", daemon=True
        ).start()

    def begin(self, what: Callable[[], T]) -> asyncio.Future[T]:
        """Have it do something, and do not wait."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._todo.put((what, future))
        return future

    def end(self) -> None:
        """No more."""
        self._todo.put(None)


def _work(
    loop: asyncio.AbstractEventLoop,
    todo: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None],
) -> None:
    while (errand := todo.get()) is not None:
        what, future = errand
        value: Any = None
        error: BaseException | None = None
        try:
            value = what()
        except BaseException as exc:  # noqa: BLE001 - the loop is to have it, whatever it is
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_tell, future, value, error)
        del errand, what, future, value, error


def _tell(future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    elif isinstance(error, StopIteration):
        future.set_exception(RuntimeError("a transport raised StopIteration"))  # no future may hold one
    else:
        future.set_exception(cast("Exception", error))
