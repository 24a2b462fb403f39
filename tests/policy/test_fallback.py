"""What leads to the next target, how long each may take, and which error tells most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import (
    ERROR_TYPES,
    CircuitOpenError,
    DeadlineExceededError,
    ErrorCode,
    ModelAuthError,
    ModelRateLimitedError,
    ModelUnavailableError,
)
from resilient_llm.policy.fallback import FallbackPolicy, most_telling, real_error
from resilient_llm.policy.outcomes import OUTCOMES, Fall, override

STAYS = {
    "MODEL_AUTH",
    "MODEL_INVALID_REQUEST",
    "MODEL_PAYLOAD_TOO_LARGE",
    "MODEL_CONTENT_FILTERED",
    "DEADLINE_EXCEEDED",
}


@pytest.mark.parametrize("code", list(ErrorCode))
def test_what_is_the_backends_trouble_leads_on(code) -> None:
    """What is wrong with the request, its key or its time stays; a prompt that is too long wants a larger window."""
    expected = Fall.NO if code in STAYS else Fall.YES
    if code in {"MODEL_CONTEXT_LENGTH", "TOKEN_BUDGET_EXCEEDED"}:
        expected = Fall.LARGER
    assert FallbackPolicy().verdict(ERROR_TYPES[code]("x")) is expected


def test_rate_limits_and_keys_are_for_the_user_to_decide() -> None:
    """By an option each, or by the table."""
    limited, wrong_key = ModelRateLimitedError("slow down"), ModelAuthError("wrong key")
    assert FallbackPolicy(on_rate_limit=False).verdict(limited) is Fall.NO
    assert FallbackPolicy(on_auth=True).verdict(wrong_key) is Fall.YES
    table = override(OUTCOMES, {ErrorCode.MODEL_AUTH: {"fallback": "yes"}})
    assert FallbackPolicy(outcomes=table).verdict(wrong_key) is Fall.YES


def test_who_stays_for_rate_limits_waits_for_them() -> None:
    """Without another way after a rate limit, waits are not cut short."""
    assert FallbackPolicy().max_wait == 1.0
    assert FallbackPolicy(patience=0).max_wait == 0
    assert FallbackPolicy(patience=None).max_wait is None
    assert FallbackPolicy(on_rate_limit=False).max_wait is None


@given(
    now=st.floats(0, 1e6),
    remaining=st.floats(0, 1e4),
    left=st.integers(1, 10),
    share=st.none() | st.floats(0.01, 1.0),
)
def test_a_share_leaves_time_for_the_others(now, remaining, left, share) -> None:
    """A target that is not the last ends by its share; the last has all that is left; nobody has more."""
    deadline = now + remaining
    due = FallbackPolicy(share=share).due(now, deadline, left)
    if left == 1:
        assert due == deadline
    else:
        assert due == pytest.approx(now + remaining * (share or 1 / left))
        assert now <= due <= deadline + 1e-6
    assert FallbackPolicy().due(now, None, left) is None


def test_a_deadline_that_has_passed_leaves_nothing() -> None:
    """There is no negative share."""
    assert FallbackPolicy().due(10.0, 4.0, 2) == 10.0


def test_the_first_error_of_a_backend_tells_most() -> None:
    """A rejection on this side tells less than what a backend did; of several, the first."""
    rejected, down, wrong_key = CircuitOpenError("open"), ModelUnavailableError("down"), ModelAuthError("key")
    assert most_telling([rejected, down, wrong_key]) is down
    assert most_telling([wrong_key, down]) is wrong_key
    assert most_telling([rejected, CircuitOpenError("open, too")]) is rejected


def test_behind_a_targets_deadline_stands_what_it_waited_for() -> None:
    """A deadline error is replaced by its cause, if that is an error of the backend."""
    late, down = DeadlineExceededError("late"), ModelUnavailableError("down")
    assert real_error(late) is late
    late.__cause__ = down
    assert real_error(late) is down
    late.__cause__ = TimeoutError()
    assert real_error(late) is late
    down.__cause__ = ModelAuthError("key")
    assert real_error(down) is down


@pytest.mark.parametrize(
    "options", [{"share": 0}, {"share": 1.5}, {"share": True}, {"patience": -1}, {"patience": "long"}]
)
def test_impossible_options_are_rejected(options) -> None:
    """Wrong types and ranges fail at construction, naming the option."""
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        FallbackPolicy(**options)
