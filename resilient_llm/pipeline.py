"""The one contract, and the pipeline that strings stages together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from inspect import isroutine
from typing import Any, Protocol, TypeAlias

import attrs

from .clock import SYSTEM_CLOCK, Clock
from .composition import check
from .errors import LLMError, count_attempts
from .models import Attempt, Request
from .response import Outcome, Response

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Anything that answers a request: a transport, a pipeline, a stage bound to what follows it."""


class Middleware(Protocol):
    """A stage: a class with `__call__`, or a plain `async def stage(request, call_next)`.

    One signature for whole and streamed calls, and five rules:

    1. **Commit.** `await call_next(request)` returns at the moment when the caller could first see output, or
       raises. For `stream=False` that is the last event, so every failure is before the commit. For
       `stream=True` it is the first event that is handed over; what comes before is held back.
    2. **Repeat only before the commit.** Whoever holds a `Response` returns it or closes it.
    3. **Settle exactly once.** A response ends completed, failed or abandoned; completed is reported when the
       final event is received, not when someone polls past it.
    4. **Hooks are plain functions** (`on_event`, `on_error`, `on_settle`), run inner before outer, do no I/O and
       do not raise.
    5. **Cancellation passes through**, is never retried, and counts as abandoned.

    A stage that holds something (tasks, connections) has a plain `async aclose()`, safe to repeat: the client calls
    it when it is closed, after the calls have ended and before the transport is closed. One that reports on others has
    a plain `watch(stages, backend)`: a pipeline calls it with all of its stages and the name of its transport. One that
    can share what it knows has a plain `share(state, scope)`: `standard_stack` calls it where there is a `state`. One
    that cannot stand anywhere has a class attribute `role`: see `resilient_llm.composition`.
    """

    def __call__(self, request: Request, call_next: Handler, /) -> Awaitable[Response]:
        """Answer the request, usually by calling `call_next` with it or with a changed copy."""
        ...


class Transport(Protocol):
    """The last handler: it knows one backend, sends, and hands over a committed response.

    What it may have beside that, for those who look for it: `model` (its own, for targets), `base_url` (with a state),
    `context_window(model)` and `default_max_tokens` (for `TokenBudget`), `batch_limits` (for `embed`), and
    `count_tokens` (see `resilient_llm.tokens.Tokenizer`).

    Attributes:
        name: The backend's name in results, errors and logs.
    """

    name: str

    def __call__(self, request: Request, /) -> Awaitable[Response]:
        """Send the request. Raises `BackendFailure` or its HTTP library's exceptions, which a stage classifies."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


def chain(middleware: Sequence[Middleware], transport: Handler) -> Handler:
    """The stages in front of a transport as one handler; neither checked nor traced, see `Pipeline`."""
    handler: Handler = _quick(transport)
    for stage in reversed(middleware):
        handler = _bind(stage, handler)
    return handler


def _quick(called: Any) -> Any:
    """The interpreter calls a method faster than an object; clients that `wrap` is to replace cannot be called yet."""
    return called.__call__ if callable(called) and not isroutine(called) else called


def _bind(stage: Middleware, following: Handler) -> Handler:
    call: Middleware = _quick(stage)

    def handler(request: Request) -> Awaitable[Response]:
        try:
            return call(request, following)
        except Exception as exc:  # noqa: BLE001 - a plain function raised before there was anything to await
            return _raised(exc)

    return handler


async def _raised(exc: Exception) -> Response:
    """Raise where the stages expect it: in the await, so that whoever accounts for the call is told."""
    raise exc


@attrs.define
class _Trace:
    """Collects the attempts of one call; an observer."""

    attempts: list[Attempt] = attrs.field(factory=list)

    def __call__(self, notice: object) -> None:
        if isinstance(notice, Attempt):
            if notice.number == 1 and not self.attempts:
                self.attempts.append(notice)
                return
            number = count_attempts(self.attempts) + 1  # a stage above the loop may have called twice
            self.attempts.append(notice if notice.number == number else attrs.evolve(notice, number=number))


class Pipeline:
    """Stages in front of a transport; itself a `Handler`.

    Args:
        middleware: The stages, outermost first.
        transport: What answers in the end.
        validate: Reject compositions that cannot work (see `resilient_llm.composition`).
        clock: Where attempts' durations come from.

    Raises:
        CompositionError: The stages' order cannot work; the message says what to change.
    """

    def __init__(
        self,
        middleware: Sequence[Middleware],
        transport: Handler,
        *,
        validate: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.middleware = tuple(middleware)
        self.transport = transport
        self._clock = clock
        if validate:
            check(self.middleware)
        for stage in self.middleware:
            if (watch := getattr(stage, "watch", None)) is not None:
                watch(self.middleware, name_of(transport))
        self._handler = chain(self.middleware, transport)

    async def aclose(self) -> None:
        """Close the stages that hold something, outermost first, then the transport."""
        await close_all((*self.middleware, self.transport))

    def __repr__(self) -> str:
        """The stages by name."""
        names = [getattr(stage, "__qualname__", type(stage).__name__) for stage in self.middleware]
        return f"<Pipeline {' > '.join([*names, repr(self.transport)])}>"

    async def __call__(self, request: Request) -> Response:
        """Send the request through the stages. The answer, or the error, carries the trace of its attempts."""
        trace = _Trace()
        started = self._clock.monotonic()
        request = request.observed_by(trace)
        try:
            response = await self._handler(request)
        except LLMError as error:
            self._conclude(trace.attempts, started, error.backend, error)
            raise
        response.trace = trace.attempts
        if not response.info.cached:
            response.on_settle(self._settled, trace.attempts, started, response)
        return response

    def _settled(self, attempts: list[Attempt], started: float, response: Response, outcome: Outcome) -> None:
        self._conclude(attempts, started, response.info.backend, outcome.error)

    def _conclude(
        self, attempts: list[Attempt], started: float, backend: str | None, error: BaseException | None
    ) -> None:
        """Complete the trace, and put it on the error."""
        failure = error if isinstance(error, LLMError) else None
        if not attempts and not (failure and failure.local):  # no stage counts attempts: the call was one
            attempts.append(Attempt(1, backend, self._clock.monotonic() - started, error=failure))
        if failure is not None:
            failure.trace = tuple(attempts)
            failure.attempts = count_attempts(attempts)


async def close_all(parts: Sequence[object]) -> None:
    """Close what can be closed, one after the other; where one fails, the rest too, and its error is raised."""
    async with AsyncExitStack() as closing:
        for part in reversed(parts):
            if (aclose := getattr(part, "aclose", None)) is not None:
                closing.push_async_callback(aclose)


def name_of(transport: Any) -> str:
    """A handler's name for messages and logs."""
    return str(getattr(transport, "name", None) or type(transport).__name__)
