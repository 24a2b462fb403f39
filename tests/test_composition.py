"""Which stacks are refused, and that the standard one is not."""

from __future__ import annotations

import pytest

import resilient_llm as rl
from resilient_llm.composition import CompositionError, check, role_of
from resilient_llm.middleware.attempt_timeout import AttemptTimeout
from resilient_llm.middleware.circuit_breaker import CircuitBreaker
from resilient_llm.middleware.deadline import Deadline
from resilient_llm.middleware.error_classifier import ErrorClassifier
from resilient_llm.middleware.retry import Retry
from resilient_llm.middleware.token_budget import TokenBudget
from resilient_llm.pipeline import Pipeline
from resilient_llm.presets import standard_stack
from resilient_llm.testing import ScriptedTransport


class Stage:
    """A stage of some role."""

    def __init__(self, role):
        self.role = role

    async def __call__(self, request, call_next):
        return await call_next(request)


ORDER = (
    *(
        "logging",
        "telemetry",
        "deadline",
        "recovery",
        "fallback",
        "cache",
        "coalesce",
        "token_budget",
        "retry",
        "rate_limit",
    ),
    *("concurrency", "breaker", "attempt_timeout", "classifier", "fault_injection"),
)


async def plain(request, call_next):
    return await call_next(request)


def test_the_standard_stack_is_accepted() -> None:
    """The stack that everyone starts from passes its own checks."""
    check(standard_stack())


@pytest.mark.parametrize(
    ("stack", "advice"),
    [
        ([CircuitBreaker(), Retry()], "put Retry before CircuitBreaker"),
        ([Retry(), plain, Retry()], "keep one"),
        ([AttemptTimeout(), CircuitBreaker()], "put CircuitBreaker before AttemptTimeout"),
        ([AttemptTimeout(), Retry()], "put Retry before AttemptTimeout"),
        ([Retry(), TokenBudget()], "put TokenBudget before Retry"),
        ([ErrorClassifier(), Retry()], "put ErrorClassifier after Retry"),
        ([ErrorClassifier(), CircuitBreaker()], "put ErrorClassifier after CircuitBreaker"),
        ([ErrorClassifier(), AttemptTimeout()], "next to the transport"),
        ([Retry(), Deadline(1)], "put Deadline before Retry"),
        ([CircuitBreaker(), AttemptTimeout(), CircuitBreaker()], "put CircuitBreaker before AttemptTimeout"),
        ([CircuitBreaker().peek, CircuitBreaker()], "another breaker"),
        ([Retry(), CircuitBreaker().peek], "another breaker"),
        ([rl.RateLimit(), rl.RateLimit().recheck], "another rate limit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_order_that_cannot_work_is_refused_with_advice(stack, advice) -> None:
    """The message says what to move where; `validate=False` lets it pass."""
    with pytest.raises(CompositionError, match=advice):
        Pipeline(stack, ScriptedTransport("a"))
    Pipeline(stack, ScriptedTransport("a"), validate=False)


def test_peek_after_its_breaker_is_refused() -> None:
    """Looking after claiming makes no sense."""
    breaker = CircuitBreaker()
    with pytest.raises(CompositionError, match=r"put breaker\.peek before"):
        check([breaker, breaker.peek])
    check([breaker.peek, breaker])


def test_stages_of_ones_own_may_stand_anywhere() -> None:
    """A plain function has no role."""
    assert role_of(plain) is None
    check([plain, Retry(), plain, CircuitBreaker(), plain])


@pytest.mark.parametrize("stage", [None, "retry", Retry])
def test_what_is_no_stage_is_refused(stage) -> None:
    """A class instead of an instance, or no callable at all, is named."""
    with pytest.raises(TypeError, match="is no stage"):
        check([stage])


def test_all_stages_in_the_documented_order_are_accepted() -> None:
    """Every role at once, outermost first."""
    check([Stage(role) for role in ORDER])


@pytest.mark.parametrize(
    ("outer", "inner", "advice"),
    [
        ("recovery", "deadline", "put Deadline before StreamRecovery"),
        ("fallback", "deadline", "put Deadline before Fallback"),
        ("rate_limit", "deadline", "put Deadline before RateLimit"),
        ("concurrency", "deadline", "put Deadline before ConcurrencyLimit"),
        ("fallback", "recovery", "put StreamRecovery before Fallback"),
        ("retry", "recovery", "put StreamRecovery before Retry"),
        ("breaker", "recovery", "put StreamRecovery before CircuitBreaker"),
        ("attempt_timeout", "recovery", "put StreamRecovery before AttemptTimeout"),
        ("retry", "fallback", "put Fallback before Retry"),
        ("token_budget", "fallback", "put Fallback before TokenBudget"),
        ("rate_limit", "fallback", "put Fallback before RateLimit"),
        ("concurrency", "fallback", "put Fallback before ConcurrencyLimit"),
        ("breaker", "fallback", "put Fallback before CircuitBreaker"),
        ("attempt_timeout", "fallback", "put Fallback before AttemptTimeout"),
        ("coalesce", "cache", "put Cache before Coalesce"),
        ("token_budget", "cache", "put Cache before TokenBudget"),
        ("retry", "cache", "put Cache before Retry"),
        ("token_budget", "coalesce", "put Coalesce before TokenBudget"),
        ("retry", "coalesce", "put Coalesce before Retry"),
        ("rate_limit", "retry", "put Retry before RateLimit"),
        ("concurrency", "retry", "put Retry before ConcurrencyLimit"),
        ("concurrency", "rate_limit", "put RateLimit before ConcurrencyLimit"),
        ("breaker", "rate_limit", "put RateLimit before CircuitBreaker"),
        ("attempt_timeout", "rate_limit", "put RateLimit before AttemptTimeout"),
        ("breaker", "concurrency", "put ConcurrencyLimit before CircuitBreaker"),
        ("attempt_timeout", "concurrency", "put ConcurrencyLimit before AttemptTimeout"),
        ("classifier", "recovery", "put ErrorClassifier after StreamRecovery"),
        ("classifier", "fallback", "put ErrorClassifier after Fallback"),
        ("classifier", "rate_limit", "put ErrorClassifier after RateLimit"),
        ("fault_injection", "classifier", "put FaultInjection after ErrorClassifier"),
    ],
)
def test_what_stands_the_wrong_way_round_is_named(outer, inner, advice) -> None:
    """The message says which of the two goes where, and why; the other way round they are accepted."""
    with pytest.raises(CompositionError, match=rf"{advice}\W.+"):
        check([Stage(outer), plain, Stage(inner)])
    retry = [Stage("retry")] if inner == "recovery" and outer not in {"retry", "fallback"} else []
    last = [Stage("retry")] if outer == "recovery" else []
    check([Stage(inner), *retry, plain, Stage(outer), *last])


def test_a_recovery_needs_someone_who_calls_again() -> None:
    """StreamRecovery alone knows no bounds: a Retry must stand inside, its own or a fallback target's."""
    with pytest.raises(CompositionError, match="Retry inside allows: put one after it"):
        check([Stage("recovery"), plain, Stage("breaker")])
    check([Stage("recovery"), Stage("fallback")])
    check([Stage("recovery"), Stage("retry")])


@pytest.mark.parametrize("role", ["recovery", "fallback", "cache", "coalesce", "rate_limit", "concurrency"])
def test_two_of_a_kind_are_refused(role) -> None:
    """The message says which to keep."""
    with pytest.raises(CompositionError, match=r"^two \w+ stages.*: keep"):
        check([Stage(role), plain, Stage(role)])


@pytest.mark.parametrize("role", ["rate_limit", "concurrency"])
def test_the_look_at_the_breaker_comes_before_the_queues(role) -> None:
    """Nobody queues only to be rejected."""
    breaker = CircuitBreaker()
    with pytest.raises(CompositionError, match=r"put breaker\.peek before"):
        check([Stage(role), breaker.peek, breaker])
    with pytest.raises(CompositionError, match=r"put Fallback before breaker\.peek"):
        check([breaker.peek, Stage("fallback"), breaker])


def test_the_second_look_at_a_rate_limit_comes_after_the_queue() -> None:
    """And before anything is claimed."""
    rate, permits, breaker = rl.RateLimit(), rl.ConcurrencyLimit(4), CircuitBreaker()
    check([rate, permits, rate.recheck, breaker])
    for stack, advice in (
        ([rate.recheck, rate], "put RateLimit before its recheck"),
        ([rate, rate.recheck, permits], "put ConcurrencyLimit before RateLimit.recheck"),
        ([rate, breaker, rate.recheck], "put RateLimit.recheck before CircuitBreaker"),
    ):
        with pytest.raises(CompositionError, match=advice):
            check(stack)


def test_faults_may_be_injected_twice() -> None:
    """Two sources of faults are a composition like any other."""
    check([Stage("fault_injection"), Stage("fault_injection")])
