"""Answers that a thread reads while they are written."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import attrs

from .events import Event, Result
from .sync_job import Done, Job, outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType

    from .calls import Streaming
    from .models import Attempt, Completion, PruneReport, Request, Usage
    from .response import Outcome, Response, ResponseInfo
    from .sync_loop import LoopThread

T = TypeVar("T")


class SyncResponse:
    """An answer on its way: an ordinary iterator of events, the blocking twin of `Response`.

    The client's loop reads ahead of the thread (256 events at most), so that a thread takes at once whatever is there:
    in a burst an event costs 1 to 3 us more than in the async client, a token that comes by itself some 40 us, which
    is what waking a thread takes. A limit between events therefore bounds the backend's silence, not the time that the
    thread needs.

    Use it as a context manager; a response that is dropped unread warns (`ResourceWarning`) and is abandoned.
    """

    def __init__(self, job: Job[None], response: Response, thread: LoopThread) -> None:
        self._job = job
        self._response = response
        self._thread = thread  # which lives as long as its client or its last answer

    def __repr__(self) -> str:
        """The state, and from where."""
        state = self.outcome.kind if self.outcome else "open"
        return f"<SyncResponse {state} from {self.info.backend or '?'}>"

    @property
    def request(self) -> Request:
        """What was asked."""
        return self._response.request

    @property
    def info(self) -> ResponseInfo:
        """What the backend's answer tells beside its content."""
        return self._response.info

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it is open."""
        return self._response.outcome

    @property
    def trace(self) -> Sequence[Attempt]:
        """The attempts that it took."""
        return self._response.trace

    @property
    def pruned(self) -> PruneReport | None:
        """What was cut from the conversation to make it fit."""
        return self._response.pruned

    @property
    def target(self) -> object:
        """The fallback target that answers; None: the backend that was asked first."""
        return self._response.target

    @property
    def usage(self) -> Usage:
        """The tokens as far as the backend has told them."""
        return self._response.usage

    def __iter__(self) -> Self:
        """The response iterates over itself, once."""
        return self

    def __next__(self) -> Event:
        """The next event; `Finish` is the last."""
        item = self._job.take()
        if type(item) is Done:
            outcome(item)
            raise StopIteration
        return cast("Event", item)

    def completion(self) -> Completion:
        """Read what is left and give the whole answer.

        Raises:
            LLMError: The answer broke off; `partial` holds what had come.
            ModelResponseInvalidError: The response was closed before its end.
        """
        for _ in self:
            pass
        return _now(self._response.completion())

    def result(self) -> object:
        """Read to the end and give the value of an operation that is no chat."""
        value: object = None
        for event in self:
            if isinstance(event, Result):
                value = event.value
        return value

    def close(self) -> None:
        """End the response now; abandoned, if it was still open. Safe to repeat."""
        self._job.abandon()

    def __enter__(self) -> Self:
        """The response itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close it: whatever the caller raised is not the backend's fault."""
        self.close()

    def __del__(self) -> None:
        """Abandon it first and warn second: under an error filter the warning raises."""
        if not (self._job.ended or self._job.inherited):
            self._job.cancel()
            warnings.warn(f"{self!r} was dropped without being closed", ResourceWarning, stacklevel=2)


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing left to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)
    finally:
        coroutine.close()
    msg = "the answer is still being read"
    raise RuntimeError(msg)


def open_response(thread: LoopThread, streaming: Streaming) -> SyncResponse:
    """Send a request; returns at the first content. Raises what the async client raises."""
    job = Job(_reading(streaming))
    try:
        thread.submit(job)
        response = job.take()
        if isinstance(response, Done):
            outcome(response)
        return SyncResponse(job, cast("Any", response), thread)
    except BaseException:
        job.abandon()
        raise


def _reading(streaming: Streaming) -> Callable[[Job[None]], Coroutine[Any, Any, None]]:
    async def read(job: Job[None]) -> None:
        async with streaming as response:
            job.put(response)
            async for event in response:
                if job.put(event):
                    await job.room()

    return read


@attrs.frozen
class SyncStreaming:
    """A streamed call, not begun yet: enter it to send it."""

    _thread: LoopThread = attrs.field(repr=False)
    _streaming: Streaming
    _opened: list[SyncResponse] = attrs.field(factory=list, init=False, repr=False)

    def __enter__(self) -> SyncResponse:
        """Send the request; returns at the first content."""
        response = open_response(self._thread, self._streaming)
        self._opened.append(response)
        return response

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the response: what was not read is abandoned."""
        self._opened.pop().close()
