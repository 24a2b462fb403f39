"""A response that is made of several, one after the other, because a stream broke and the call was repeated.

The rules of this file:

- Each inner response settles by itself; the outer one is settled once, by its own end.
- While the outer response waits for the next inner one, its reader's task is inside `call_next`. Closing the outer
  one ends that wait; the reader sees the end of the stream, as everybody does whose response was closed.
- Whether and when to call again is `Retry`'s to say: it is only told which error to judge.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import attrs

from resilient_llm.errors import LLMError
from resilient_llm.models import Attempt
from resilient_llm.response import Response
from resilient_llm.timeout import Watch

if TYPE_CHECKING:
    from typing import NoReturn

    from resilient_llm.events import Event, Notice
    from resilient_llm.models import Request, Usage
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Outcome

MOST: Final = 16
"""How often one stream is recovered at most, whatever the stages inside would allow."""


@attrs.define
class LastAttempt:
    """The number of the last attempt; an observer."""

    number: int = 0

    def __call__(self, notice: Notice) -> None:
        """Take note of an attempt."""
        if isinstance(notice, Attempt):
            self.number = notice.number


class Repeating(Response):
    """One response, made of several that come one after the other; what follows a broken one, a subclass says.

    Args:
        inner: The first.
        request: What was asked, observed by `attempts`.
        call_next: Asks again.
        attempts: The number of the last attempt.
    """

    def __init__(self, inner: Response, request: Request, call_next: Handler, attempts: LastAttempt) -> None:
        super().__init__(inner, inner.request)
        self._asked = request
        self._call_next = call_next
        self._attempts = attempts
        self._recoveries = 0
        self._waiting: tuple[asyncio.AbstractEventLoop, Watch] | None = None
        self._feed = _as_they_come
        self._hold(inner)

    @property
    def usage(self) -> Usage:
        """That of the last inner response."""
        return self._inner.usage

    def _hold(self, inner: Response) -> None:
        self._inner = self._body = inner
        self.info, self.request = inner.info, inner.request
        self.pruned, self.target = inner.pruned, inner.target

    async def _again(self, error: LLMError, beginning: str = "") -> Response | None:
        """Have the stages inside call again; None if this response was closed meanwhile."""
        self._recoveries += 1
        if self._recoveries > MOST:
            error.add_note(f"not recovered: it broke {self._recoveries} times")
            raise error
        request = self._repeated(error, beginning)
        watch = Watch()
        watch.begin(None)
        self._waiting = asyncio.get_running_loop(), watch
        try:
            inner = await self._call_next(request)
        except BaseException as exc:
            self._waiting = None
            if watch.end(exc):
                return None
            raise
        self._waiting = None
        watch.end(None)
        if self.outcome is None:
            return inner
        inner.close()
        return None

    def _repeated(self, error: LLMError, beginning: str) -> Request:
        extensions = self._asked.extensions.copy()
        extensions["recovers"] = error
        if self.target is not None:
            extensions["target"] = self.target
        if beginning:
            extensions["resume_from"] = beginning
        attempt = (self._attempts.number or self.request.attempt) + 1
        return attrs.evolve(self._asked, attempt=attempt, extensions=extensions)

    # Ending ...

    def _broken(self, exc: BaseException, caught: BaseException) -> NoReturn:
        if isinstance(exc, LLMError):
            exc.partial = None  # an inner response's; this one has it all
        super()._broken(exc, caught)

    def _settle(self, outcome: Outcome) -> None:
        super()._settle(outcome)
        if self._waiting is not None and not self._waiting[0].is_closed():
            self._waiting[0].call_soon_threadsafe(self._stop_waiting)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting[1].strike()


def _as_they_come(events: list[Event]) -> list[Event]:
    """The inner responses have made tool calls whole."""
    return events
