"""How long to wait before the next attempt.

The schedules are `backoff`'s wait generators, driven by its protocol (a first `send(None)`, then one `send` per
wait). Server delays are floors: see Brooker, "Exponential Backoff And Jitter" (AWS, 2015) for the jitter, and
meltano/sdk#1477 for what happens when a server's delay is jittered downwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any, TypeAlias

import attrs
import backoff

from resilient_llm.errors import ErrorCode, LLMError
from resilient_llm.policy.outcomes import OUTCOMES, Row, should_retry, whole_table
from resilient_llm.validators import count, non_negative, optional_callable

WaitGenerator: TypeAlias = Callable[[], Generator[float, Any, None]]
"""A wait generator of `backoff`, its options bound with `functools.partial`."""

Jitter: TypeAlias = Callable[[float], float]
"""One of `backoff`'s jitter functions, or any function from a wait to a wait."""

Uniform: TypeAlias = Callable[[float, float], float]
"""A draw from an interval, such as `random.Random().uniform`."""

STANDARD_WAIT: WaitGenerator = partial(backoff.expo, base=2, factor=0.5, max_value=30)
LOADING_POLL = 1.0


def decorrelated(
    *, uniform: Uniform, base: float = 0.5, max_value: float = 30.0
) -> Generator[float, Any, None]:
    """Decorrelated jitter as a wait generator: each wait is drawn between `base` and three times the last.

    Finishes contended work sooner than full jitter, for a few more calls (AWS, 2015). Use it without a further
    jitter: `Retry(wait=partial(decorrelated, uniform=rng.uniform), jitter=None)`.
    """
    yield 0.0  # the protocol's first send
    wait = base
    while True:
        wait = min(max_value, uniform(base, 3 * wait))
        yield wait


def server_delay(delay: float, uniform: Uniform) -> float:
    """A wait no shorter than the server asked, spread over a further quarter second, or 10 %."""
    return delay + uniform(0.0, max(0.25, 0.1 * delay))


def jittered(wait: float, jitter: Jitter | None, uniform: Uniform) -> float:
    """Apply a jitter; backoff's own two draw from `uniform` instead of the module-wide generator they use."""
    if jitter is None:
        return wait
    if jitter is backoff.full_jitter:
        return uniform(0.0, wait)
    if jitter is backoff.random_jitter:
        return wait + uniform(0.0, 1.0)
    return jitter(wait)


@attrs.frozen
class GiveUp:
    """No further attempt; `reason` is for the error's notes, empty where the error speaks for itself."""

    reason: str = ""
    deadline: bool = False


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When to call again, and after how long.

    Args:
        max_retries: Attempts after the first.
        wait: The schedule, in seconds.
        jitter: Applied to the schedule, never to a server's delay.
        max_server_delay: A server that asks for more seconds than this ends the loop at once.
        loading_timeout: Seconds for which a loading model is polled, once a second, without counting retries.
        outcomes: Which failures are worth a retry.
    """

    max_retries: int = attrs.field(default=3, validator=count)
    wait: WaitGenerator = attrs.field(default=STANDARD_WAIT, validator=attrs.validators.is_callable())
    jitter: Jitter | None = attrs.field(default=backoff.full_jitter, validator=optional_callable)
    max_server_delay: float = attrs.field(default=60.0, validator=non_negative)
    loading_timeout: float = attrs.field(default=600.0, validator=non_negative)
    outcomes: Mapping[ErrorCode, Row] = attrs.field(default=OUTCOMES, validator=whole_table)


class Schedule:
    """The retry state of one call: asked after each failure, answers with a wait or a reason to give up.

    Args:
        policy: What is allowed.
        started: When the call began, in monotonic seconds.
        deadline: When it must be over, or None.
        uniform: Where random draws come from.
        initial: The first wait of this call's schedule before jitter; scales all of it. None: as the policy says.
        max_wait: Seconds; because there is another way than waiting, the schedule is cut to this, a server that asks
            for more ends the loop, and a loading model is polled for no longer in all. None: no such.
        retries: How many there were already.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        started: float,
        deadline: float | None,
        uniform: Uniform,
        initial: float | None = None,
        max_wait: float | None = None,
        retries: int = 0,
    ) -> None:
        self.policy = policy
        self.retries = retries
        self._skipped = retries
        self._max_wait = math.inf if max_wait is None else max_wait
        self._loading_timeout = min(policy.loading_timeout, self._max_wait)
        self._impatient = started + self._loading_timeout
        self._deadline = deadline
        self._uniform = uniform
        self._initial = initial
        self._scale = 1.0 if initial is None else 0.0
        self._waits: Generator[float, Any, None] | None = None

    @property
    def patience(self) -> float:
        """The instant up to which a loading model is waited for."""
        return self._impatient if self._deadline is None else min(self._impatient, self._deadline)

    def after(self, error: LLMError, now: float) -> float | GiveUp:
        """The seconds to wait before the next attempt, or why there is none."""
        if not should_retry(error, self.policy.outcomes):
            return GiveUp()
        if reason := self._too_long(error.retry_after or 0.0):
            return GiveUp(reason)
        if error.code is ErrorCode.MODEL_LOADING:
            wait: float | GiveUp = self._poll(error, now)
        elif self.retries >= self.policy.max_retries:
            return GiveUp()
        else:
            wait = self._next(error)
            self.retries += 1
        if isinstance(wait, GiveUp):
            return wait
        if self._deadline is not None and now + wait >= self._deadline:
            return GiveUp(f"the next attempt, in {wait:.2f} s, would begin after the deadline", deadline=True)
        return wait

    def _too_long(self, delay: float) -> str:
        """Why nobody waits as long as a server asks, or nothing if it can be done."""
        longest = self.policy.max_server_delay
        if delay > longest:
            return f"the wait is longer than max_server_delay={longest:g} s"
        if delay > self._max_wait:
            return f"the wait is longer than {self._max_wait:g} s, and there is another way"
        return ""

    def _poll(self, error: LLMError, now: float) -> float | GiveUp:
        if now >= self._impatient:
            return GiveUp(f"still loading after {self._loading_timeout:g} s")
        if error.retry_after is not None:
            return server_delay(error.retry_after, self._uniform)
        return LOADING_POLL

    def _next(self, error: LLMError) -> float | GiveUp:
        try:
            wait = self._send(error)
        except StopIteration:
            return GiveUp("the wait generator ended")
        if error.retry_after is not None:
            return server_delay(error.retry_after, self._uniform)
        return min(max(0.0, jittered(wait * self._scale, self.policy.jitter, self._uniform)), self._max_wait)

    def _send(self, error: LLMError) -> float:
        """The generator's next wait; those of the retries that there were already are passed over."""
        if self._waits is None:
            self._waits = self.policy.wait()
            self._waits.send(None)
            for _ in range(self._skipped):
                self._scaled(self._waits.send(error))
        return self._scaled(self._waits.send(error))

    def _scaled(self, wait: float) -> float:
        if self._initial is not None and not self._scale:
            self._scale = self._initial / wait if wait > 0 else 1.0
        return wait
