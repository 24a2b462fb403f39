"""A server in a thread of its own: for clients that block, and for event loops of any kind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from .server import FaultServer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from .faults import Fault
    from .schedule import Schedule
    from .server import ServerOptions

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds within which the server must begin and end."""


@contextlib.contextmanager
def serving(*faults: Schedule | Fault, **options: Unpack[ServerOptions]) -> Iterator[FaultServer]:
    """Run a fault server on another thread's loop.

    Args:
        faults: One for each request and the last for all that follow, or a `Schedule`; without any, all is well.
        options: Those of `FaultServer`.

    Raises:
        Exception: On leaving, what a fault or a reply of your own raised.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fault server", daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    server = FaultServer(**options)
    if faults:
        server.begin(*faults)
    try:
        run(server.__aenter__())
        try:
            yield server
        finally:
            run(server.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()
