"""Calls of a model in this process: one at a time, on a thread that lives while there are any.

The rules of this file:

- A call belongs to its event loop; the thread reaches it by `call_soon_threadsafe` alone.
- Closing a call sets a flag. The thread sees it at the next token, or when the call's turn comes.
- The thread is no daemon, because native code would not survive being cut off; when the main thread has ended it
  stops at the next token, so that nothing holds up the interpreter's exit.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from resilient_llm.errors import (
    BackendFailure,
    LLMError,
    ModelResponseInvalidError,
    ModelUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from resilient_llm.body import ResponseInfo
    from resilient_llm.events import Event
    from resilient_llm.models import Message

    from .engine import Emit, Engine, ModelFile

_shared: WeakValueDictionary[ModelFile, SharedModel] = WeakValueDictionary()
_sharing = threading.Lock()


def shared(file: ModelFile) -> SharedModel:
    """The model of a file, the same for all who ask while anybody has it. Loads nothing yet."""
    with _sharing:
        model = _shared.get(file)
        if model is None:
            model = _shared[file] = SharedModel(file.load)
        return model


def _after_fork() -> None:
    """In a forked child no thread goes on, those of native code included: models are loaded anew there."""
    global _sharing  # noqa: PLW0603 - whoever held it is not there any more
    _sharing = threading.Lock()
    for model in list(_shared.values()):
        model.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class SharedModel:
    """A model that is loaded at its first use, and its calls, first come, first served.

    Args:
        load: Loads it; called by a thread, and again after a failure.
    """

    def __init__(self, load: Callable[[], Engine]) -> None:
        self._load = load
        self._engine: Engine | None = None
        self.begin_anew()

    def begin_anew(self) -> None:
        """As if nothing had been loaded or asked. An engine is never freed: it might wait for lost threads."""
        if self._engine is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))
        self._engine = None
        self._loading = threading.Lock()
        self._calls: deque[Call] = deque()
        self._lock = threading.Lock()
        self._working = False

    @property
    def window(self) -> int | None:
        """The window in tokens, once the model is loaded."""
        return self._engine.window if self._engine else None

    def engine(self) -> Engine:
        """The engine, loaded by whoever comes first; blocks."""
        with self._loading:
            if self._engine is None:
                self._engine = self._load()
            return self._engine

    def count(self, prompt: str | Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> int:
        """Count tokens; does not wait for the calls before it, but blocks."""
        return self.engine().count(prompt, tools)

    def submit(self, call: Call) -> None:
        """Have a call made when its turn comes."""
        with self._lock:
            self._calls.append(call)
            if self._working:
                return
            self._working = True
            try:
                threading.Thread(target=self._work, name="resilient_llm model").start()
            except RuntimeError:
                self._working = False
                self._calls.clear()
                raise

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._working = False
                    return
                call = self._calls.popleft()
            call.make(self)


class Call:
    """One call of a model: the body of its response.

    Args:
        model: Whose.
        use: What to do with the engine.
        info: What is known of the answer.
    """

    def __init__(self, model: SharedModel, use: Callable[[Engine, Emit], None], info: ResponseInfo) -> None:
        self.info = info
        self._use = use
        self._loop = asyncio.get_running_loop()
        self._ready: list[Event] = []
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        model.submit(self)

    async def receive(self) -> list[Event]:
        """The next events. Raises what ended the call."""
        while not self._ready:
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            await self._waiter
        events, self._ready = self._ready, []
        return events

    def close(self) -> None:
        """Have it stopped at the next token; from any thread."""
        if not self._closed:
            self._closed = True
            self._tell(
                [], ModelResponseInvalidError("the call was closed before its end", backend_fault=False)
            )

    # On the thread ...

    def make(self, model: SharedModel) -> None:
        """Make the call, unless nobody waits for it any more."""
        if self._stops():
            return
        error: Exception = ModelResponseInvalidError("the model stopped without an end")
        try:
            self._use(model.engine(), self._emit)
        except (LLMError, BackendFailure) as exc:
            error = exc
        except BaseException as exc:  # noqa: BLE001 - whatever the engine raises: panics of Rust are no `Exception`
            error = ModelUnavailableError(f"the model failed in this process: {type(exc).__name__}: {exc}")
            error.__cause__ = exc
        self._tell([], error)

    def _emit(self, events: Sequence[Event]) -> bool:
        return self._stops() or (bool(events) and not self._tell(events, None))

    def _stops(self) -> bool:
        return self._closed or not threading.main_thread().is_alive()

    def _tell(self, events: Sequence[Event], error: Exception | None) -> bool:
        """Pass something on to the loop. False if that is closed."""
        try:
            self._loop.call_soon_threadsafe(self._arrived, events, error)
        except RuntimeError:
            return False
        return True

    # On the loop ...

    def _arrived(self, events: Sequence[Event], error: Exception | None) -> None:
        self._ready.extend(events)
        if self._error is None:
            self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
