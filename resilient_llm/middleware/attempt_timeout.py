"""AttemptTimeout: how long a single attempt may be silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.errors import ModelTimeoutError
from resilient_llm.events import ContentSeen, Notice
from resilient_llm.timeout import Timeout
from resilient_llm.validators import called, optional_positive

if TYPE_CHECKING:
    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response

FAIR_CHANCE = 5.0
"""Seconds; an attempt that the deadline gave less does not count against the backend."""


@attrs.frozen(kw_only=True)
class AttemptTimeout:
    """Bound each attempt, and turn a hang into `MODEL_TIMEOUT`. Belongs inside the breaker, which counts it.

    Content is what counts, not bytes: comments and pings do not feed the timers, while fragments of a tool call
    that is still held back do. What is left of the deadline bounds every limit.

    Args:
        first_token: Seconds to the first content of a stream; None: no limit.
        idle: Seconds between contents of a stream.
        whole: Seconds for one attempt at an answer that comes whole.
        clock: Time.
        backend: The transport's name, for the errors.

    A call's own `first_token_timeout`, `idle_timeout` and `attempt_timeout` win; `attempt_timeout` bounds a
    stream's attempt up to its first content as well.
    """

    role = "attempt_timeout"

    first_token: float | None = attrs.field(
        default=60.0, validator=optional_positive, metadata=called("first_token_timeout")
    )
    idle: float | None = attrs.field(
        default=30.0, validator=optional_positive, metadata=called("idle_timeout")
    )
    whole: float | None = attrs.field(
        default=600.0, validator=optional_positive, metadata=called("attempt_timeout")
    )
    clock: Clock = attrs.field(default=SYSTEM_CLOCK, repr=False)
    backend: str | None = None

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Bound the time to the commit, and hand the idle limit to the response."""
        limit = _Limit(self, request)
        seconds = limit.until_commit()
        if seconds is None:
            response = await call_next(request)
        else:
            scope = Timeout(seconds)
            try:
                with scope:
                    response = await call_next(limit.watching(scope) if request.stream else request)
            except TimeoutError as exc:
                if not scope.expired:
                    raise
                raise limit.error() from exc
        if response.outcome is None:
            response.limit(limit)
        return response


class _Limit:
    """The limits of one attempt; the response asks it before each pull."""

    __slots__ = ("_in_force", "_request", "_short", "_stage", "_what", "deadline")

    def __init__(self, stage: AttemptTimeout, request: Request) -> None:
        self._stage = stage
        self._request = request
        self.deadline = request.deadline
        self._short = False
        self._in_force: float | None = None
        self._what = "no content came" if request.stream else "no answer came"

    def until_commit(self) -> float | None:
        stage, options = self._stage, self._request.extensions
        if not self._request.stream:
            return self._bounded(options.get("attempt_timeout", stage.whole))
        default = options.get("attempt_timeout", stage.first_token)
        return self._bounded(options.get("first_token_timeout", default))

    def seconds(self) -> float | None:
        """The idle limit, or less if the deadline is nearer."""
        self._what = "the stream stalled: no content came"
        return self._bounded(self._request.extensions.get("idle_timeout", self._stage.idle))

    def error(self) -> ModelTimeoutError:
        """The hang as an error: neutral for the breaker if the deadline left the backend no fair chance."""
        return ModelTimeoutError(
            f"{self._what} for {self._in_force:g} s",
            backend=self._stage.backend,
            model=self._request.model or None,
            backend_fault=False if self._short else None,
        )

    def watching(self, scope: Timeout) -> Request:
        """Have content that is held back move the limit on: from the first token's to the idle one."""

        def seen(notice: Notice) -> None:
            if isinstance(notice, ContentSeen):
                scope.restart(self.seconds())

        return self._request.observed_by(seen)

    def _bounded(self, limit: float | None) -> float | None:
        if self.deadline is not None:
            left = max(0.0, self.deadline - self._stage.clock.monotonic())
            if limit is None or left < limit:
                self._short = left < FAIR_CHANCE
                limit = left
        self._in_force = limit
        return limit
