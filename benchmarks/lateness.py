"""How late the machine is: for how long a process was kept from running when it was due.

What was judged by time while the machine was late says nothing about the client.
"""

from __future__ import annotations

import threading
import time

TICK = 0.02
NOTICED = 0.03


class Lateness:
    """Watches, from a thread of its own, until the process ends.

    Args:
        own: Is it lateness, too, when this process itself was busy? A client that blocks is not excused by that.
    """

    def __init__(self, *, own: bool) -> None:
        self._own = own
        self._seen: list[tuple[float, float]] = []
        threading.Thread(target=self._watch, name="lateness", daemon=True).start()

    def worst(self, since: float) -> float:
        """Seconds of the longest that ended after an instant of `time.monotonic`."""
        return max((late for at, late in self._seen if at >= since), default=0.0)

    def _watch(self) -> None:
        while True:
            begun, busy = time.monotonic(), time.process_time()
            time.sleep(TICK)
            now = time.monotonic()
            late = lateness(now - begun, 0.0 if self._own else time.process_time() - busy)
            if late:
                self._seen.append((now, late))


def lateness(took: float, busy: float) -> float:
    """How late a tick was, if that is worth notice: what it took too long and the process was not busy itself."""
    late = took - TICK - busy
    return late if late > NOTICED else 0.0
