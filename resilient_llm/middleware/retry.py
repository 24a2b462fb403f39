"""Retry: the only loop."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import backoff

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.errors import ErrorCode, LLMError
from resilient_llm.models import Attempt, Request
from resilient_llm.policy.backoff import STANDARD_WAIT, Jitter, RetryPolicy, WaitGenerator
from resilient_llm.policy.backoff import decorrelated as _decorrelated
from resilient_llm.policy.outcomes import OUTCOMES, Row
from resilient_llm.policy.retry_budget import RetryBudget
from resilient_llm.response import Outcome, OutcomeKind

from .loading import LoadingModels
from .retry_loop import Loop
from .sharing import SharedBudget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response
    from resilient_llm.sharing import State

_OWN_BUDGET: Final = RetryBudget()  # a marker: each Retry without a `budget` gets a bucket of its own


def decorrelated_jitter(
    base: float = 0.5, max_value: float = 30.0, rng: random.Random | None = None
) -> WaitGenerator:
    """A schedule for `Retry(wait=decorrelated_jitter(), jitter=None)`.

    Each wait is drawn between `base` and thrice the last. It finishes contended work sooner than full jitter, for a
    few more calls: Brooker, "Exponential Backoff And Jitter" (AWS, 2015).

    Args:
        base: The shortest wait, in seconds.
        max_value: The longest.
        rng: Where the draws come from; seed it for a repeatable schedule.
    """
    draws = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
    return partial(_decorrelated, uniform=draws.uniform, base=base, max_value=max_value)


class Retry:
    """Call again after failures that a wait may cure.

    Repeats only before the commit: a stream that broke after its first content is repeated if `StreamRecovery` asks
    for it, which counts as one more attempt of the same call. A server's delay is a floor, never shortened by jitter.
    A rejection on this side (an open circuit, a full queue) is not an attempt: first thing in a call it is raised, in
    the middle of the loop it ends the loop with the last real error.

    While a model is loading, the calls of all who use this object wait together, those that come meanwhile included,
    and one of them asks once a second, without counting retries. Where a `Fallback` has another target, waits are
    short (`max_wait` of `Extensions`).

    Jitter after Brooker, "Exponential Backoff And Jitter" (AWS, 2015); the budget is that of the AWS SDKs, see
    `RetryBudget`.

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
        self.clock = clock
        self.uniform = (rng or random.Random()).uniform  # noqa: S311 - spreads load, guards nothing
        self.loading = LoadingModels(clock)

    def share(self, state: State, scope: str) -> None:
        """Share the budget with all who use the same scope of the state."""
        if self.budget is not None:
            SharedBudget(self.budget, state, scope)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Call, and call again while the policy, the budget and the deadline allow."""
        loop: Loop | None = None
        if "recovers" in request.extensions:
            now = self.clock.monotonic()
            loop = Loop(self, request, now)
            loop.broke(request.extensions["recovers"], now)
            await self.clock.sleep(loop.waited)
        while True:
            if self.loading.models:
                loop = loop or Loop(self, request, self.clock.monotonic())
                await loop.turn()
            begun = self.clock.monotonic()
            try:
                response = await call_next(request)
            except LLMError as error:
                loop = loop or Loop(self, request, begun)
                if not loop.failed(error, begun, self.clock.monotonic()):
                    continue
            else:
                response.on_settle(self._settled, request, response, begun, loop)
                if self.loading.models:
                    self.loading.answered(request.model)
                return response
            await self.clock.sleep(loop.waited)
            request = attrs.evolve(request, attempt=request.attempt + 1)

    def _settled(
        self, request: Request, response: Response, begun: float, loop: Loop | None, outcome: Outcome
    ) -> None:
        """Take note of how the response ended."""
        error = outcome.error if isinstance(outcome.error, LLMError) else None
        duration = self.clock.monotonic() - begun
        waited, paid = (loop.waited, loop.paid) if loop else (0.0, None)
        request.tell(Attempt(request.attempt, response.info.backend, duration, waited, error))
        if self.budget is not None and outcome.kind is OutcomeKind.COMPLETED:
            self.budget.deposit(request.model, 1 if paid is None else paid)
