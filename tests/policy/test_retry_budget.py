"""The retry budget: never below nothing, never above full, and it bounds a dead backend's load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import ModelOverloadedError, ModelRateLimitedError
from resilient_llm.policy import retry_budget
from resilient_llm.policy.retry_budget import RetryBudget

BUSY = ModelOverloadedError("busy")
LIMITED = ModelRateLimitedError("slow down")


def test_a_fresh_bucket_funds_35_transient_retries() -> None:
    """500 tokens at 14 each pay for 35 retries, or for 100 after throttling."""
    budget = RetryBudget()
    assert sum(budget.withdraw("m", BUSY) is not None for _ in range(1000)) == 35
    assert sum(budget.withdraw("other", LIMITED) is not None for _ in range(1000)) == 100


def test_each_key_has_its_own_bucket() -> None:
    """A spent bucket of one model leaves the others full."""
    budget = RetryBudget(capacity=14)
    assert budget.withdraw("a", BUSY) == 14
    assert budget.withdraw("a", BUSY) is None
    assert budget.withdraw("b", BUSY) == 14


def test_a_success_after_a_retry_gives_its_cost_back() -> None:
    """Deposits restore what was spent, and never more than the bucket holds."""
    budget = RetryBudget()
    cost = budget.withdraw("m", BUSY)
    assert budget.tokens("m") == 486
    budget.deposit("m", cost)
    assert budget.tokens("m") == 500
    budget.deposit("m", 1)
    assert budget.tokens("m") == 500


@given(st.lists(st.sampled_from(["fail", "throttle", "success"])), st.integers(0, 60))
def test_the_bucket_stays_within_its_bounds(steps: list[str], capacity: int) -> None:
    """Whatever happens, tokens lie between 0 and the capacity, and add up."""
    budget = RetryBudget(capacity=capacity)
    expected = capacity
    for step in steps:
        if step == "success":
            budget.deposit("m", 1)
            expected = min(capacity, expected + 1)
        else:
            paid = budget.withdraw("m", BUSY if step == "fail" else LIMITED)
            cost = 14 if step == "fail" else 5
            assert paid == (cost if cost <= expected else None)
            expected -= paid or 0
        assert budget.tokens("m") == expected
        assert 0 <= expected <= capacity


def test_the_number_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys without end do not grow the memory: the least recently used bucket goes."""
    monkeypatch.setattr(retry_budget, "MAX_BUCKETS", 3)
    budget = RetryBudget()
    for key in range(10):
        budget.withdraw(key, BUSY)
    assert [budget.tokens(key) for key in range(10)] == [500] * 7 + [486] * 3


def test_what_others_tell_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet may use more models than anybody keeps in mind here."""
    monkeypatch.setattr(retry_budget, "MAX_BUCKETS", 3)
    budget = RetryBudget()
    for key in range(10):
        budget.told(key, 14)
    assert budget.spent() == {7: 14, 8: 14, 9: 14}


def test_retries_that_cost_nothing_are_never_refused() -> None:
    """Nor is anything kept of them."""
    budget = RetryBudget(cost=0)
    assert budget.withdraw("m", BUSY) == 0
    assert budget.spent() == {}


@pytest.mark.parametrize("options", [{"capacity": -1}, {"cost": 1.5}, {"throttle_cost": "5"}])
def test_impossible_options_are_rejected(options) -> None:
    """Wrong types and ranges fail at construction, naming the option."""
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        RetryBudget(**options)


def test_a_bucket_in_use_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that goes is the one that paid longest ago, not the oldest."""
    monkeypatch.setattr(retry_budget, "MAX_BUCKETS", 2)
    budget = RetryBudget()
    for key in "abac":
        budget.withdraw(key, BUSY)
    assert budget.spent() == {"a": 28, "c": 14}


def test_changes_are_told_and_taken_over() -> None:
    """What was spent, what was earned; what others say counts, and is not told again."""
    budget, told = RetryBudget(), []
    budget.changed = lambda key, amount: told.append((key, amount))
    budget.withdraw("m", BUSY)
    budget.deposit("m", 4)
    budget.deposit("full", 4)
    assert (told, budget.spent()) == ([("m", 14), ("m", -4)], {"m": 10})
    budget.told("m", 1)
    assert (budget.tokens("m"), len(told)) == (499, 2)
    budget.told("m", 0)
    assert budget.spent() == {}
