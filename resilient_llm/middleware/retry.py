"""Retry: the only loop."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import backoff

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.errors import DeadlineExceededError, ErrorCode, LLMError
from resilient_llm.events import Waiting
from resilient_llm.models import Attempt, Request
from resilient_llm.policy.backoff import STANDARD_WAIT, GiveUp, Jitter, RetryPolicy, Schedule, WaitGenerator
from resilient_llm.policy.backoff import decorrelated as _decorrelated
from resilient_llm.policy.outcomes import OUTCOMES, Row
from resilient_llm.policy.retry_budget import RetryBudget
from resilient_llm.response import Outcome, OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response

_OWN_BUDGET: Final = RetryBudget()  # a marker: each Retry without a `budget` gets a bucket of its own


def decorrelated_jitter(
    base: float = 0.5, max_value: float = 30.0, rng: random.Random | None = None
) -> WaitGenerator:
    """A schedule for `Retry(wait=decorrelated_jitter(), jitter=None)`.

    Args:
        base: The shortest wait, in seconds.
        max_value: The longest.
        rng: Where the draws come from; seed it for a repeatable schedule.
    """
    draws = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
    return partial(_decorrelated, uniform=draws.uniform, base=base, max_value=max_value)


class Retry:
    """Call again after failures that a wait may cure.

    Repeats only before the commit: a stream that broke after its first content is not repeated here. A server's
    delay is a floor, never shortened by jitter. A rejection on this side (an open circuit, a full queue) is not an
    attempt: first thing in a call it is raised, in the middle of the loop it ends the loop with the last real
    error. While a model is loading it is polled once a second, without counting retries. Where a `Fallback` has
    another target, waits are short (`max_wait` of `Extensions`).

    Args:
        max_retries: Attempts after the first; a call's own `max_retries` wins.
        wait: The schedule in seconds: one of `backoff`'s wait generators, options bound with `functools.partial`.
            Default: 0.5, 1, 2, ... at most 30.
        jitter: One of `backoff`'s jitter functions, or None. Default: `backoff.full_jitter`.
        max_server_delay: Seconds; a server that asks for more ends the loop at once.
        loading_timeout: Seconds for which a loading model is waited for.
        budget: The bucket that retries are paid from, shared by all that use this object; None: no budget.
            Default: one of its own. Share one between clients of the same backend only.
        outcomes: Which failures are worth a retry, if not as in `resilient_llm.policy.outcomes.OUTCOMES`.
        clock: Time.
        rng: Where jitter comes from.

    Raises:
        LLMError: The last attempt's error, with notes on why it was not retried.
        DeadlineExceededError: The next wait would have ended after the deadline; the error is its `__cause__`.
    """

    role = "retry"

    def __init__(
        self,
        *,
        max_retries: int = 3,
        wait: WaitGenerator = STANDARD_WAIT,
        jitter: Jitter | None = backoff.full_jitter,
        max_server_delay: float = 60.0,
        loading_timeout: float = 600.0,
        budget: RetryBudget | None = _OWN_BUDGET,
        outcomes: Mapping[ErrorCode, Row] = OUTCOMES,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
    ) -> None:
        self.policy = RetryPolicy(
            max_retries=max_retries,
            wait=wait,
            jitter=jitter,
            max_server_delay=max_server_delay,
            loading_timeout=loading_timeout,
            outcomes=outcomes,
        )
        self.budget = RetryBudget() if budget is _OWN_BUDGET else budget
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Call, and call again while the policy, the budget and the deadline allow."""
        loop: _Loop | None = None
        while True:
            begun = self._clock.monotonic()
            try:
                response = await call_next(request)
            except LLMError as error:
                loop = loop or _Loop(self, request)
                loop.failed(error, begun, self._clock.monotonic())
            else:
                response.on_settle(partial(self._settled, request, response, begun, loop))
                return response
            await self._clock.sleep(loop.waited)
            request = attrs.evolve(request, attempt=request.attempt + 1)

    def _settled(
        self, request: Request, response: Response, begun: float, loop: _Loop | None, outcome: Outcome
    ) -> None:
        """Take note of how the response ended."""
        error = outcome.error if isinstance(outcome.error, LLMError) else None
        duration = self._clock.monotonic() - begun
        waited, paid = (loop.waited, loop.paid) if loop else (0.0, None)
        request.tell(Attempt(request.attempt, response.info.backend, duration, waited, error))
        if self.budget is not None and outcome.kind is OutcomeKind.COMPLETED:
            self.budget.deposit(request.model, 1 if paid is None else paid)

    def _schedule(self, request: Request, started: float) -> Schedule:
        options = request.extensions
        policy = self.policy
        if "max_retries" in options:
            policy = attrs.evolve(policy, max_retries=options["max_retries"])
        return Schedule(
            policy,
            started=started,
            deadline=request.deadline,
            uniform=self._rng.uniform,
            initial=options.get("initial_backoff"),
            max_wait=options.get("max_wait"),
        )


class _Loop:
    """A call that has failed at least once: its schedule, what it paid, its last error."""

    __slots__ = ("_last", "_number", "_request", "_retry", "_schedule", "paid", "waited")

    def __init__(self, retry: Retry, request: Request) -> None:
        self.waited = 0.0
        self._retry = retry
        self._request = request
        self._number = request.attempt
        self._schedule: Schedule | None = None
        self._last: LLMError | None = None
        self.paid: int | None = None

    def failed(self, error: LLMError, begun: float, now: float) -> None:
        """Take note of a failed attempt and set `waited`, or raise what the caller is to see."""
        if error.local:
            if self._last is None:
                raise error
            self._tell(0.0, error)
            self._last.add_note(f"then {error.code}: {error.message}")
            raise self._last from error
        self._tell(now - begun, error)
        self._last = error
        if self._schedule is None:
            self._schedule = self._retry._schedule(self._request, begun)  # noqa: SLF001 - its other half
        wait = self._schedule.after(error, now)
        if isinstance(wait, GiveUp):
            self._give_up(error, wait)
        else:
            self._pay(error)
            self.waited = wait
            self._request.tell(Waiting(wait, error, self._number))
        self._number += 1

    def _tell(self, duration: float, error: LLMError) -> None:
        self._request.tell(Attempt(self._number, error.backend, duration, self.waited, error))

    def _give_up(self, error: LLMError, verdict: GiveUp) -> None:
        if verdict.deadline:
            raise DeadlineExceededError(
                verdict.reason, retry_after=error.retry_after, backend=error.backend, model=error.model
            ) from error
        if verdict.reason:
            error.add_note(f"not retried: {verdict.reason}")
        raise error

    def _pay(self, error: LLMError) -> None:
        budget = self._retry.budget
        if budget is None or error.code is ErrorCode.MODEL_LOADING:
            return
        self.paid = budget.withdraw(self._request.model, error)
        if self.paid is None:
            error.add_note("not retried: the retry budget is spent, too few calls succeed")
            raise error
