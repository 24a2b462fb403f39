"""The retry schedule: floors, jitter, give-ups."""

from __future__ import annotations

import random
from functools import partial

import attrs
import backoff
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import (
    ModelAuthError,
    ModelLoadingError,
    ModelOverloadedError,
    ModelRateLimitedError,
)
from resilient_llm.policy.backoff import GiveUp, RetryPolicy, Schedule, decorrelated, jittered, server_delay

BUSY = ModelOverloadedError("busy")


def largest(_low: float, high: float) -> float:
    return high


def smallest(low: float, _high: float) -> float:
    return low


def schedule(policy: RetryPolicy | None = None, **options) -> Schedule:
    defaults = {"started": 0.0, "deadline": None, "uniform": largest}
    return Schedule(policy or RetryPolicy(), **(defaults | options))


def test_waits_double_from_half_a_second() -> None:
    """The standard schedule's ceilings are 0.5, 1 and 2 seconds, and then it gives up."""
    waits = schedule()
    assert [waits.after(BUSY, 0.0) for _ in range(4)] == [0.5, 1.0, 2.0, GiveUp()]


def test_waits_are_capped() -> None:
    """No wait of the standard schedule is over 30 seconds."""
    waits = schedule(RetryPolicy(max_retries=20))
    assert max(waits.after(BUSY, 0.0) for _ in range(20)) == 30.0


def test_errors_that_time_does_not_cure_are_not_retried() -> None:
    """A wrong key ends the loop at once."""
    assert schedule().after(ModelAuthError("wrong key"), 0.0) == GiveUp()


def test_the_single_error_overrides_its_class() -> None:
    """`retryable=False` on an error of a retryable class ends the loop."""
    assert schedule().after(ModelRateLimitedError("too large", retryable=False), 0.0) == GiveUp()


@given(delay=st.floats(0, 1000), draw=st.floats(0, 1))
def test_a_server_delay_is_a_floor(delay: float, draw: float) -> None:
    """The wait is never shorter than the server asked, and longer by at most 0.25 s or 10 %."""
    wait = server_delay(delay, lambda low, high: low + draw * (high - low))
    assert delay <= wait <= delay + max(0.25, 0.1 * delay) + 1e-9


def test_a_server_delay_replaces_the_schedule() -> None:
    """With Retry-After the schedule's own wait does not count, however long."""
    error = ModelRateLimitedError("slow down", retry_after=2.0)
    assert schedule(uniform=smallest).after(error, 0.0) == 2.0


def test_a_server_that_asks_for_too_much_ends_the_loop() -> None:
    """Above `max_server_delay` there is no wait at all, and the reason names the option."""
    verdict = schedule().after(ModelRateLimitedError("tomorrow", retry_after=86_400), 0.0)
    assert isinstance(verdict, GiveUp)
    assert "max_server_delay=60" in verdict.reason


def test_no_wait_ends_after_the_deadline() -> None:
    """A wait that would end at or after the deadline is not begun."""
    verdict = schedule(deadline=0.5).after(BUSY, 0.0)
    assert isinstance(verdict, GiveUp)
    assert verdict.deadline
    assert schedule(deadline=0.51).after(BUSY, 0.0) == 0.5


def test_a_loading_model_is_polled_without_counting() -> None:
    """While the model loads, the wait is a second, no retry is used up, and patience ends."""
    waits = schedule(RetryPolicy(max_retries=1, loading_timeout=100.0))
    loading = ModelLoadingError("loading model")
    assert [waits.after(loading, float(now)) for now in range(100)] == [1.0] * 100
    assert waits.retries == 0
    assert isinstance(waits.after(loading, 100.0), GiveUp)


def test_the_initial_backoff_scales_the_schedule() -> None:
    """A call's `initial_backoff` is the first wait; the others grow from it."""
    waits = schedule(initial=0.1)
    assert [waits.after(BUSY, 0.0) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.4])


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (partial(backoff.constant, interval=0.2), [0.2, 0.2, 0.2]),
        (partial(backoff.fibo, max_value=2), [1, 1, 2]),
    ],
)
def test_any_generator_of_backoff_can_be_the_schedule(wait, expected) -> None:
    """Constant and Fibonacci waits come out as backoff defines them."""
    waits = schedule(RetryPolicy(wait=wait, jitter=None))
    assert [waits.after(BUSY, 0.0) for _ in range(3)] == expected


def test_a_generator_that_ends_ends_the_loop() -> None:
    """A finite list of waits gives up after its last."""
    waits = schedule(RetryPolicy(wait=partial(backoff.constant, interval=[0.1]), jitter=None))
    assert waits.after(BUSY, 0.0) == 0.1
    assert isinstance(waits.after(BUSY, 0.0), GiveUp)


def test_backoffs_jitters_draw_from_the_given_source() -> None:
    """Seeded draws make backoff's own two jitter functions repeatable; a function of one's own is called."""
    assert jittered(8.0, backoff.full_jitter, smallest) == 0.0
    assert jittered(8.0, backoff.full_jitter, largest) == 8.0
    assert jittered(8.0, backoff.random_jitter, smallest) == 8.0
    assert jittered(8.0, backoff.random_jitter, largest) == 9.0
    assert jittered(8.0, lambda wait: wait / 2, largest) == 4.0
    assert jittered(8.0, None, largest) == 8.0


@given(seed=st.integers())
def test_decorrelated_jitter_stays_between_base_and_cap(seed: int) -> None:
    """Each wait lies between the base and the smaller of the cap and three times the last."""
    waits = decorrelated(uniform=random.Random(seed).uniform, base=0.5, max_value=10.0)
    assert waits.send(None) == 0.0
    last = 0.5
    for _ in range(30):
        wait = next(waits)
        assert 0.5 <= wait <= min(10.0, 3 * last)
        last = wait


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"max_server_delay": -1},
        {"max_server_delay": float("nan")},
        {"loading_timeout": "soon"},
        {"wait": 3},
        {"jitter": 3},
        {"outcomes": {}},
    ],
)
def test_impossible_options_are_rejected(options) -> None:
    """Wrong types and ranges fail at construction, naming the option."""
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        RetryPolicy(**options)


def test_the_policy_is_a_value() -> None:
    """A policy can be changed by `attrs.evolve` only."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RetryPolicy().max_retries = 5


def test_a_loading_model_that_names_a_wait_is_asked_then() -> None:
    """A server's own delay goes before the poll of a second."""
    assert schedule(uniform=smallest).after(ModelLoadingError("loading", retry_after=7.0), 0.0) == 7.0


def test_where_there_is_another_way_no_wait_is_long() -> None:
    """With `max_wait` the schedule is cut to it, and a server that asks for more ends the loop at once."""
    waits = schedule(max_wait=0.75)
    assert [waits.after(BUSY, 0.0) for _ in range(4)] == [0.5, 0.75, 0.75, GiveUp()]
    patient, hasty = (schedule(max_wait=2.0, uniform=smallest) for _ in range(2))
    assert patient.after(ModelRateLimitedError("slow down", retry_after=2.0), 0.0) == 2.0
    verdict = hasty.after(ModelRateLimitedError("slow down", retry_after=2.1), 0.0)
    assert isinstance(verdict, GiveUp)
    assert (verdict.deadline, "another way" in verdict.reason) == (False, True)


def test_where_there_is_another_way_a_loading_model_is_not_waited_for() -> None:
    """With `max_wait` a model that loads is polled for that long in all."""
    waits = schedule(max_wait=2.0)
    loading = ModelLoadingError("loading model")
    assert [waits.after(loading, now) for now in (0.0, 1.0)] == [1.0, 1.0]
    assert isinstance(waits.after(loading, 2.0), GiveUp)


def test_a_server_may_ask_for_as_long_as_anybody_waits() -> None:
    """`max_server_delay` itself is still waited for."""
    assert schedule(uniform=smallest).after(ModelRateLimitedError("slow down", retry_after=60.0), 0.0) == 60.0


def test_a_schedule_that_begins_with_nothing_is_not_scaled() -> None:
    """There is no factor that makes a first wait of it."""
    waits = schedule(RetryPolicy(wait=partial(backoff.constant, interval=[0, 0.2]), jitter=None), initial=5.0)
    assert [waits.after(BUSY, 0.0) for _ in range(2)] == [0.0, 0.2]


def test_a_server_delay_is_spread_by_a_quarter_second_or_a_tenth() -> None:
    """Whichever is more."""
    assert [server_delay(delay, largest) for delay in (1.0, 10.0)] == [1.25, 11.0]


@pytest.mark.parametrize(("deadline", "patience"), [(None, 105.0), (40.0, 40.0), (400.0, 105.0)])
def test_a_loading_model_is_waited_for_no_longer_than_the_call_may_take(deadline, patience) -> None:
    """`patience` is the earlier instant of the two."""
    assert schedule(RetryPolicy(loading_timeout=100.0), started=5.0, deadline=deadline).patience == patience


@pytest.mark.parametrize(("initial", "wait"), [(None, 2.0), (0.1, 0.4)])
def test_a_schedule_goes_on_after_the_retries_there_were(initial, wait) -> None:
    """The waits of those are passed over, and scaled by the first of them."""
    waits = schedule(retries=2, initial=initial)
    assert [waits.after(BUSY, 0.0) for _ in range(2)] == [pytest.approx(wait), GiveUp()]


def test_what_holds_without_options() -> None:
    """Decorrelated waits from half a second up to thirty; a loading model is waited for ten minutes."""
    waits = decorrelated(uniform=largest)
    assert [next(waits) for _ in range(6)] == [0.0, 1.5, 4.5, 13.5, 30.0, 30.0]
    assert schedule(started=5.0).patience == 605.0
