"""The response: a body that is read once, committed at first content, and settled exactly once.

The rules of this file:

- Whatever may fail or be cancelled happens in `_pull`; every way out of it either leaves the response open or
  settles it.
- `_settle` runs once. It closes the body first, then tells the accounts, inner before outer.
- Nothing is awaited while cleaning up: `close` of a body is a plain function.
"""

from __future__ import annotations

import warnings
from collections import deque
from typing import TYPE_CHECKING, NoReturn, Self

from .body import Body, Limit, ResponseInfo
from .errors import LLMError, ModelResponseInvalidError
from .events import CONTENT_SEEN, Event, Finish, Result, UsageEvent
from .hooks import THIS, Account, Hooks
from .outcome import ABANDONED, COMPLETED, Outcome, OutcomeKind, observe
from .pulls import Pulls
from .wire.assembly import Assembler, holds_content
from .wire.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from .models import Attempt, Completion, PruneReport, Request, Usage

__all__ = ["Body", "Limit", "Outcome", "OutcomeKind", "Response", "ResponseInfo", "observe"]


class Response(Hooks):
    """An answer on its way: an async iterator of events that settles exactly once.

    Use it as an async context manager; a response that is dropped unread warns (`ResourceWarning`) and is settled
    as abandoned.

    `target` is the fallback target that answers; None: the backend that was asked first. `limits` bound each pull.

    Args:
        body: Where the events come from.
        request: What was asked.
    """

    def __init__(self, body: Body, request: Request) -> None:
        self.request = request
        self.info = body.info
        self.outcome: Outcome | None = None
        self.trace: Sequence[Attempt] = ()
        self.pruned: PruneReport | None = None
        self.target: object = None
        self._because: LLMError | None = None
        self._body = body
        self._assembler = Assembler(tool_deltas=request.extensions.get("tool_deltas", False))
        self._feed = self._assembler.feed
        self._transcript = Transcript()
        self._ready: deque[Event] = deque()
        self.limits: list[Limit] = []
        self._pulls = Pulls()
        self._on_event: list[Callable[[Event], Event]] = []
        self._on_error: list[Callable[[Exception], Exception]] = []
        self._on_settle: list[Account] = []

    def __repr__(self) -> str:
        """The state, and what is waiting to be read."""
        state = self.outcome.kind if self.outcome else "open"
        return f"<Response {state} from {self.info.backend or '?'}, {len(self._ready)} events ready>"

    @property
    def usage(self) -> Usage:
        """The tokens as far as the backend has told them; for `on_settle` accounts."""
        return self._assembler.usage

    # Reading ...

    def __aiter__(self) -> Self:
        """The response iterates over itself, once."""
        return self

    async def __anext__(self) -> Event:
        """The next event; `Finish` is the last."""
        ready = self._ready
        if not ready:
            if self.outcome is None:
                await self._pull()
            if not ready:
                raise self._because or StopAsyncIteration
        event = ready.popleft()
        for edit in self._on_event:
            event = edit(event)
        self._transcript.record(event)
        return event

    async def receive(self, *, once: bool = False) -> list[Event]:
        """All events that are there, else those that come next; none at the end. For stages that read in batches.

        Args:
            once: Read once, even if that brings no event: for those who hand on the bytes of each read. The limits
                go on as if there had been no return, so pings do not feed them.
        """
        if not self._ready and self.outcome is None:
            await self._pull(once=once)
        events = list(self._ready)
        self._ready.clear()
        for edit in self._on_event:
            events = [edit(event) for event in events]
        self._transcript.extend(events)
        return events

    async def completion(self) -> Completion:
        """Read what is left and give the whole answer.

        Raises:
            LLMError: The answer broke off; `partial` holds what had come.
            ModelResponseInvalidError: The response was closed before its end.
        """
        if self.outcome is None or self._on_event:
            async for _ in self:
                pass
        else:  # all of it is here, and nobody edits it
            self._transcript.extend(self._ready)
            self._ready.clear()
        if self.outcome is not COMPLETED:
            msg = "the response was closed before its end"
            raise ModelResponseInvalidError(msg, partial=self._completion(), backend_fault=False)
        return self._completion()

    async def result(self) -> object:
        """Read to the end and give the value of an operation that is no chat."""
        value: object = None
        async for event in self:
            if isinstance(event, Result):
                value = event.value
        return value

    async def open(self) -> None:
        """Read up to the commit, telling the observers of content that is held back; for `commit` alone."""
        try:
            while self.outcome is None:
                batch = await self._batch()
                if self.begin(batch) and self.request.stream:
                    return
        except BaseException as exc:  # noqa: BLE001 - raised again, translated
            self._broken(exc, exc)

    def begin(self, batch: list[Event]) -> bool:
        """Take a batch that came before the commit. True if the caller may see something of it."""
        if holds_content(batch):
            self.request.tell(CONTENT_SEEN)
        return self._take(self._assembler.feed(batch))

    async def _pull(self, *, once: bool = False) -> None:
        """Receive until something can be handed over or the body ended; or once, whatever comes."""
        pulls = self._pulls
        pulls.begin(self.limits)
        quiet = False
        try:
            while self.outcome is None and not self._take(self._feed(await self._batch())):
                if quiet := once:
                    break
        except BaseException as exc:  # noqa: BLE001 - raised again, translated
            struck = pulls.end(exc)
            if self.outcome is ABANDONED and (struck or isinstance(exc, Exception)):
                return  # closed meanwhile, and this is what the body makes of it
            self._broken(struck or exc, exc)
        pulls.end(None, quiet=quiet)

    def _batch(self) -> Awaitable[list[Event]]:
        if self._assembler.failure is not None:
            raise self._assembler.failure
        return self._body.receive()

    def check(self) -> None:
        """Raise what makes the answer unusable, if anything does."""
        if self._assembler.failure is not None:
            self._broken(self._assembler.failure, self._assembler.failure)

    def _take(self, events: Sequence[Event]) -> bool:
        """Queue the events; settle if they end the answer. True if the caller may see one of them."""
        if not events:
            return False
        self._ready.extend(events)
        if type(events[-1]) is Finish:
            self._settle(COMPLETED)
        return type(events[0]) is not UsageEvent or any(type(event) is not UsageEvent for event in events)

    # Ending ...

    def close(self, because: LLMError | None = None) -> None:
        """End the response now; abandoned, if it was still open. Plain, and safe to repeat.

        Args:
            because: What is raised to whoever goes on reading, `partial` added. Default: the events just end.
        """
        if self.outcome is None:
            if because is not None:
                self._because, because.partial = because, self.so_far()
            self._settle(ABANDONED)

    async def __aenter__(self) -> Self:
        """The response itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close it: whatever the caller raised is not the backend's fault."""
        self.close()

    def __del__(self) -> None:
        """Settle first and warn second: under an error filter the warning raises."""
        if getattr(self, "outcome", COMPLETED) is None:
            self._settle(ABANDONED)
            warnings.warn(f"{self!r} was dropped without being closed", ResourceWarning, stacklevel=2)

    def _broken(self, exc: BaseException, caught: BaseException) -> NoReturn:
        """Translate a failure, attach what had come, settle, raise; a cancellation is passed on as it is."""
        if isinstance(exc, Exception):
            for translate in self._on_error:
                exc = translate(exc)
        if isinstance(exc, LLMError):
            self._transcript.extend(self._ready)
            partial = self._completion()
            if exc.partial is None and (partial.text or partial.reasoning or partial.tool_calls):
                exc.partial = partial
        self._ready.clear()
        self._settle(Outcome.of(exc))
        if exc is caught:
            raise exc
        raise exc from (exc.__cause__ or caught)

    def _settle(self, outcome: Outcome) -> None:
        if self.outcome is not None:
            return
        self.outcome = outcome
        self._body.close()
        accounts, self._on_settle = self._on_settle, []
        for account, args in accounts:
            account(*[self if arg is THIS else arg for arg in args], outcome)
