"""A spent quota: until when nobody asks, and what they are told."""

from __future__ import annotations

import pytest

from resilient_llm.errors import ModelQuotaExceededError
from resilient_llm.policy.quota import Quota


def test_a_spent_quota_is_not_asked_before_its_time() -> None:
    """To the instant; callers get what the backend said, and what is left to wait."""
    quota = Quota()
    quota.spent(ModelQuotaExceededError("buy more", backend="b"), 40.0)
    for now, left in ((10.0, 30.0), (39.5, 0.5)):
        with pytest.raises(ModelQuotaExceededError, match="buy more") as caught:
            quota.check("m", now)
        error = caught.value
        assert (error.retry_after, error.backend, error.model, error.local) == (left, "b", "m", True)
    quota.check("m", 40.0)


def test_a_call_that_names_no_model_gets_an_error_without_one() -> None:
    """None, not an empty name."""
    quota = Quota()
    quota.check("", 0.5)
    quota.spent(ModelQuotaExceededError("buy more"), 1.0)
    with pytest.raises(ModelQuotaExceededError) as caught:
        quota.check("", 0.5)
    assert caught.value.model is None
