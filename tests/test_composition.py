"""Which stacks are refused, and that the standard one is not."""

from __future__ import annotations

import pytest

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
