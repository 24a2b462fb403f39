"""Deadline: one instant by which everything must be over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.errors import DeadlineExceededError, LLMError, ModelTimeoutError
from resilient_llm.timeout import Timeout
from resilient_llm.validators import called, optional_positive

if TYPE_CHECKING:
    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response

GRACE = 0.1
"""Seconds that the stages inside get to end the call themselves, so that a hang is recorded as one."""


@attrs.frozen
class Deadline:
    """Bound a call's total time: attempts, waits, queues and the reading of the stream.

    Sets `request.deadline`, unless the call brings its own; every stage that waits consults it. What runs into it
    is raised as `DeadlineExceededError`, the last real error as its `__cause__`.

    Args:
        seconds: From the start of the call; None only translates deadlines that calls bring themselves.
        clock: Time.
    """

    role = "deadline"

    seconds: float | None = attrs.field(
        default=600.0, validator=optional_positive, metadata=called("deadline")
    )
    clock: Clock = attrs.field(default=SYSTEM_CLOCK, kw_only=True, repr=False)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Set the deadline, and enforce it on whatever inside does not."""
        now = self.clock.monotonic()
        deadline = request.deadline
        if deadline is None:
            if self.seconds is None:
                return await call_next(request)
            deadline = now + self.seconds
            request = request.due(deadline)
        if deadline <= now:
            raise _exceeded(request, "the deadline had passed before the call began")
        scope = Timeout(deadline - now + GRACE)
        try:
            with scope:
                response = await call_next(request)
        except LLMError as error:
            translated = self._translate(request, deadline, error)
            if translated is error:
                raise
            raise translated from error
        except TimeoutError as exc:
            if not scope.expired:
                raise
            raise _exceeded(request, "the deadline passed while a stage was waiting") from exc
        if response.outcome is None:
            response.on_error(lambda exc: self._translate(request, deadline, exc))
            if not any(limit.deadline == deadline for limit in response.limits):
                response.limit(_Remaining(self.clock, request, deadline))
        return response

    def _translate(self, request: Request, deadline: float, error: Exception) -> Exception:
        if isinstance(error, ModelTimeoutError) and self.clock.monotonic() >= deadline:
            exceeded = _exceeded(request, "the deadline passed while the backend was working")
            exceeded.backend, exceeded.partial, exceeded.__cause__ = error.backend, error.partial, error
            return exceeded
        return error


@attrs.define
class _Remaining:
    """What is left of the deadline for reading a stream, where no stage inside minds it."""

    clock: Clock
    request: Request
    deadline: float | None

    def seconds(self) -> float | None:
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - self.clock.monotonic()) + GRACE

    def error(self) -> DeadlineExceededError:
        return _exceeded(self.request, "the deadline passed while the stream was read")


def _exceeded(request: Request, message: str) -> DeadlineExceededError:
    return DeadlineExceededError(message, model=request.model or None)
