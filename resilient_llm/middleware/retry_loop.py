"""What `Retry` knows of a call that has failed or must wait: its schedule, what it paid, its last error."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import attrs

from resilient_llm.errors import DeadlineExceededError, ErrorCode, LLMError, ModelLoadingError
from resilient_llm.events import Waiting
from resilient_llm.models import Attempt
from resilient_llm.policy.backoff import GiveUp, Schedule

if TYPE_CHECKING:
    from resilient_llm.models import Request

    from .retry import Retry


class Loop:
    """One call's retries.

    Args:
        retry: Whose policy, budget and clock count.
        request: The call's first request here; its `attempt` says how many attempts there were.
        started: When the call began.
    """

    __slots__ = ("_last", "_number", "_request", "_retry", "_schedule", "paid", "waited")

    def __init__(self, retry: Retry, request: Request, started: float) -> None:
        self.waited = 0.0
        self.paid: int | None = None
        self._retry = retry
        self._request = request
        self._number = request.attempt
        self._last: LLMError | None = None
        self._schedule = _schedule(retry, request, started)

    def broke(self, error: LLMError, now: float) -> None:
        """Take note of the stream that this call recovers; as `failed`, for an attempt that was told already."""
        self._number -= 1
        self._judge(error, now)
        self._number = self._request.attempt

    def failed(self, error: LLMError, begun: float, now: float) -> bool:
        """Take note of a failed attempt and set `waited`, or raise what the caller is to see.

        Returns:
            Is the next attempt a retry? Asking a model that is loading once more is none.
        """
        if error.local:
            if self._last is None:
                raise error
            self._tell(0.0, error)
            self._last.add_note(f"then {error.code}: {error.message}")
            raise self._last from error
        self._tell(now - begun, error)
        if error.code is not ErrorCode.MODEL_LOADING:
            self._retry.loading.answered(self._request.model)
        return self._judge(error, now)

    async def turn(self) -> None:
        """Wait with the other callers for a model that is loading, as long as this call may."""
        clock, models = self._retry.clock, self._retry.loading
        begun = clock.monotonic()
        refusal = await models.turn(self._request.model, self._schedule.patience, self._wait)
        now = clock.monotonic()
        self.waited += now - begun
        if refusal is not None:
            verdict = self._schedule.after(refusal, max(now, self._schedule.patience))
            assert isinstance(verdict, GiveUp)
            self._give_up(self._last or _unasked(refusal), verdict)

    def _judge(self, error: LLMError, now: float) -> bool:
        self._last = error
        wait = self._schedule.after(error, now)
        if isinstance(wait, GiveUp):
            self._give_up(error, wait)
        if error.code is ErrorCode.MODEL_LOADING:
            self._retry.loading.refused(self._request.model, error, now + wait)
            self.waited = 0.0
            return False
        self._pay(error)
        self.waited = wait
        self._wait(wait, error)
        self._number += 1
        return True

    def _wait(self, seconds: float, error: LLMError) -> None:
        self._request.tell(Waiting(seconds, error, self._number))

    def _tell(self, duration: float, error: LLMError) -> None:
        self._request.tell(Attempt(self._number, error.backend, duration, self.waited, error))

    def _give_up(self, error: LLMError, verdict: GiveUp) -> NoReturn:
        if verdict.deadline:
            raise DeadlineExceededError(
                verdict.reason, retry_after=error.retry_after, backend=error.backend, model=error.model
            ) from error
        if verdict.reason:
            error.add_note(f"not retried: {verdict.reason}")
        raise error

    def _pay(self, error: LLMError) -> None:
        budget = self._retry.budget
        if budget is None:
            return
        self.paid = budget.withdraw(self._request.model, error)
        if self.paid is None:
            error.add_note("not retried: the retry budget is spent, too few calls succeed")
            raise error


def _schedule(retry: Retry, request: Request, started: float) -> Schedule:
    options = request.extensions
    policy = retry.policy
    if "max_retries" in options:
        policy = attrs.evolve(policy, max_retries=options["max_retries"])
    return Schedule(
        policy,
        started=started,
        deadline=request.deadline,
        uniform=retry.uniform,
        initial=options.get("initial_backoff"),
        max_wait=options.get("max_wait"),
        retries=max(0, request.attempt - 2) if "recovers" in options else 0,
    )


def _unasked(refusal: LLMError) -> LLMError:
    """The refusal for a call that waited because of another one's, and sent nothing itself."""
    error = ModelLoadingError(refusal.message, backend=refusal.backend, model=refusal.model)
    error.local = True
    return error
