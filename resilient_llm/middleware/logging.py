"""Logging: one event per attempt and one per call, through the standard library's logger `resilient_llm`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.errors import LLMError
from resilient_llm.events import FallingBack, Notice, Waiting
from resilient_llm.logs import events, heard
from resilient_llm.models import Attempt, PromptCut, PruneReport
from resilient_llm.response import Outcome, OutcomeKind, observe

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response


class Logging:
    """Log what happens to each call; never a prompt, an answer or a key.

    Silent until the application configures logging for `resilient_llm`: then `INFO` shows calls, retries and
    pruning, `DEBUG` every attempt, `WARNING` only what went wrong. Fields bound with
    `structlog.contextvars.bind_contextvars` come along.

    Events: `llm.call` (at its end), `llm.attempt`, `llm.wait`, `llm.fallback`, `llm.pruned`, `llm.prompt_cut`; times in
    seconds. See `docs/reference/logging.md`.

    Args:
        clock: Time.
    """

    role = "logging"

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock

    def __call__(self, request: Request, call_next: Handler) -> Awaitable[Response]:
        """Log the call, if anyone listens."""
        if not heard():
            return call_next(request)
        call = _Call(request, self._clock)
        return observe(call_next(request.observed_by(call.notice)), call.settled)


class _Call:
    def __init__(self, request: Request, clock: Clock) -> None:
        self._log = events().bind(
            operation=request.operation, model=request.model or None, stream=request.stream
        )
        self._clock = clock
        self._started = clock.monotonic()
        self._attempts = 0

    def notice(self, notice: Notice) -> None:
        match notice:
            case Attempt(error=None):
                self._attempts += 1
                self._log.debug("llm.attempt", **_attempt(notice))
            case Attempt(error=LLMError() as error):
                self._attempts += not error.local
                self._log.info("llm.attempt", **_attempt(notice), code=str(error.code), status=error.status)
            case Waiting():
                self._log.info("llm.wait", seconds=round(notice.seconds, 3), code=str(notice.error.code))
            case FallingBack():
                self._log.info("llm.fallback", target=notice.target, code=str(notice.error.code))
            case PruneReport():
                self._log.info("llm.pruned", **attrs.asdict(notice))
            case PromptCut():
                self._log.warning("llm.prompt_cut", **attrs.asdict(notice))
            case _:
                pass

    def settled(self, outcome: Outcome) -> None:
        fields: dict[str, Any] = {
            "outcome": str(outcome.kind),
            "duration": round(self._clock.monotonic() - self._started, 6),
            "attempts": self._attempts,
        }
        if isinstance(outcome.error, LLMError):
            fields |= {"code": str(outcome.error.code), "request_id": outcome.error.request_id}
        elif outcome.error is not None:
            fields["error"] = type(outcome.error).__name__
        level = logging.WARNING if outcome.kind is OutcomeKind.FAILED else logging.INFO
        self._log.log(level, "llm.call", **fields)


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "backend": attempt.backend,
        "duration": round(attempt.duration, 6),
        "waited": round(attempt.waited, 3),
        "shared": attempt.shared or None,
    }
