"""The children of a call's span: one for each attempt.

The rules of this file:

- A child begins when its request goes out (`sending`), or where no transport says so, as long ago as the attempt took.
- A child that failed ends at once. Any other one ends with the call, which knows whether it was left half read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
from opentelemetry import baggage, context, propagate
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

from resilient_llm.errors import LLMError
from resilient_llm.outcome import OutcomeKind
from resilient_llm.wire import gen_ai

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from resilient_llm.clock import Clock
    from resilient_llm.models import Attempt
    from resilient_llm.outcome import Outcome

    from .telemetry_meters import Meters

OUTCOME = "resilient_llm.outcome"
PORTS = {"http": 80, "https": 443}


@attrs.frozen
class Tools:
    """What all calls of a `Telemetry` use; see there."""

    tracer: Tracer
    meters: Meters
    clock: Clock
    capture_content: bool
    propagate: bool

    def wall(self, ago: float = 0.0) -> int:
        """The time of so many seconds ago, in nanoseconds since the epoch."""
        return int((self.clock.time() - ago) * 1e9)

    def fail(self, span: Span, error: BaseException) -> None:
        """Say why a span failed; the text only if content is wanted, because backends quote what they were sent."""
        span.set_attribute(gen_ai.ERROR_TYPE, kind_of(error))
        span.set_status(StatusCode.ERROR, str(error) if self.capture_content else kind_of(error))


def kind_of(error: BaseException) -> str:
    """One of few words for an error: its code, or its class."""
    return str(error.code) if isinstance(error, LLMError) else type(error).__qualname__


def server_of(url: str) -> dict[str, Any]:
    """The address and the port, without all else that a URL may hold."""
    parts = urlsplit(url)
    port = parts.port or PORTS.get(parts.scheme)
    return {gen_ai.SERVER_ADDRESS: parts.hostname or "", **({gen_ai.SERVER_PORT: port} if port else {})}


class Attempts:
    """The attempts of one call.

    Attributes:
        count: How many there were.
        opening: Is the caller still waiting for the first content? Then its task has the span as its current one.

    Args:
        tools: What is used.
        call: The call's span.
        told: Attributes of the call that attempts and metrics carry, too; kept up to date here.
        own: Headers that a wrapped client's user has set, which win.
    """

    def __init__(self, tools: Tools, call: Span, told: dict[str, Any], own: Iterable[str] = ()) -> None:
        self._tools = tools
        self._own = {name.lower() for name in own}
        self._call = call
        self._told = told
        self.call_context = self._context = set_span_in_context(call)
        self.count = 0
        self.opening = True
        self._span: Span | None = None
        self._ended: int | None = None
        self._last_error = ""
        self._over = False

    def sending(self, url: str) -> Mapping[str, str]:
        """A request goes out: its attempt begins, unless it has. Gives the headers that say where it belongs."""
        if not self._over:
            self._end_last()
            span = self._span or self._begin()
            if url:
                server = server_of(url)
                self._told.update(server)
                self._call.set_attributes(server)
                span.set_attributes(server)
        headers: dict[str, str] = {}
        if self._tools.propagate:
            propagate.inject(
                headers, baggage.clear(self._context)
            )  # baggage is not for other people's servers
        return {name: value for name, value in headers.items() if name.lower() not in self._own}

    def ended(self, attempt: Attempt) -> None:
        """An attempt has ended."""
        self._end_last()
        span = self._span or self._begin(attempt.duration)
        of = dict(self._told)
        if attempt.backend:
            of[gen_ai.PROVIDER] = attempt.backend
            span.set_attribute(gen_ai.PROVIDER, attempt.backend)
        span.set_attribute("resilient_llm.waited", attempt.waited)
        if self.count > 1:
            self._tools.meters.retries.add(1, {**of, gen_ai.ERROR_TYPE: self._last_error})
        if attempt.error is None:
            self._ended = self._tools.wall()
        else:
            of[gen_ai.ERROR_TYPE] = self._last_error = kind_of(attempt.error)
            self._fail(span, attempt.error)
            self._end(self._tools.wall())
        self._tools.meters.attempt.record(attempt.duration, of)

    def settle(self, outcome: Outcome, *, whole: float | None) -> None:
        """The call is over.

        Args:
            outcome: How it ended.
            whole: If the call itself was the attempt, where no stage told of one: how long it took.
        """
        self._over = True
        if self._span is None and not self.count and whole is not None:
            self._begin(whole)
        if self._span is None:
            return
        self._span.set_attribute(OUTCOME, str(outcome.kind))
        if outcome.kind is OutcomeKind.FAILED and outcome.error is not None:
            self._fail(self._span, outcome.error)
        self._end(self._ended or self._tools.wall())

    def _begin(self, ago: float = 0.0) -> Span:
        self.count += 1
        told = {name: value for name, value in self._told.items() if name != gen_ai.OPERATION}
        self._span = self._tools.tracer.start_span(
            "attempt",
            self.call_context,
            kind=SpanKind.CLIENT,
            attributes={**told, "resilient_llm.attempt.number": self.count},
            start_time=self._tools.wall(ago),
        )
        self._move(set_span_in_context(self._span, self.call_context))
        return self._span

    def _end_last(self) -> None:
        if self._ended is not None:
            self._end(self._ended)

    def _end(self, when: int) -> None:
        if self._span is not None:
            self._span.end(when)
        self._span = self._ended = None
        self._move(self.call_context)

    def _move(self, to: Context) -> None:
        self._context = to
        if self.opening:
            context.attach(to)  # until the one before the call is restored

    def _fail(self, span: Span, error: BaseException) -> None:
        if isinstance(error, LLMError) and error.status is not None:
            span.set_attribute(gen_ai.STATUS_CODE, error.status)
        self._tools.fail(span, error)
