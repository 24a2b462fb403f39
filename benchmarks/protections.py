"""What the clients of a fleet do about failures, and the options with which real clients do the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import backoff

from resilient_llm.policy.backoff import STANDARD_WAIT
from resilient_llm.policy.retry_budget import RetryBudget

TIMEOUT = 10.0
PATIENCE = 60.0


@attrs.frozen(kw_only=True)
class Protection:
    """What the clients of a fleet do about failures.

    Args:
        name: What to call it.
        retries: After a failed attempt.
        steady: Retry one second apart instead of at growing, random intervals.
        budget: Pay for retries from a budget.
        cooldown: Wait together after a 429.
        circuit: Stop calling a backend that fails.
    """

    name: str
    retries: int = 3
    steady: bool = False
    budget: bool = False
    cooldown: bool = False
    circuit: bool = False

    @property
    def wait(self) -> Callable:
        return partial(backoff.constant, interval=1.0) if self.steady else STANDARD_WAIT

    @property
    def jitter(self) -> Callable | None:
        return None if self.steady else backoff.full_jitter


PROTECTIONS = (
    Protection(name="no retries", retries=0),
    Protection(name="retries, 1 s apart", steady=True),
    Protection(name="retries, backoff and jitter"),
    Protection(name="+ budget", budget=True),
    Protection(name="+ cool-down", cooldown=True),
    Protection(name="+ circuit", circuit=True),
    Protection(name="all of them", budget=True, cooldown=True, circuit=True),
)


def stack_options(protection: Protection) -> dict:
    """The options with which `rl.AsyncClient` does the same."""
    breaker = {} if protection.circuit else {"breaker": None}
    limit = {} if protection.cooldown else {"rate_limit": None}
    return {
        "max_retries": protection.retries,
        "wait": protection.wait,
        "jitter": protection.jitter,
        "retry_budget": RetryBudget() if protection.budget else None,
        "token_budget": None,
        "deadline": None,
        "attempt_timeout": TIMEOUT,
        "first_token_timeout": TIMEOUT,
        "max_server_delay": PATIENCE,
        **breaker,
        **limit,
    }
