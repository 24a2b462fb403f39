"""Fault servers on a thread of their own, so that a client which blocks or hogs its loop does not stop them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Self

from lateness import Lateness

from resilient_llm.testing import FaultServer

STARTED = 10.0


class Servers:
    """Runs fault servers; a context manager. `lateness` tells how late they were."""

    def __enter__(self) -> Self:
        self.lateness = Lateness(own=True)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault servers", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STARTED)
        self._loop.close()

    @contextlib.contextmanager
    def running(self, servers: list[FaultServer]) -> Iterator[list[FaultServer]]:
        """The servers while they run."""
        started: list[FaultServer] = []
        try:
            for server in servers:
                self._run(server.__aenter__())
                started.append(server)
            yield servers
        finally:
            for server in started:
                self._run(server.__aexit__(None, None, None))

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(STARTED)
