"""Token buckets, against a brute-force count of what was let through."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.policy.buckets import NOTHING, Bucket, Count, Refilled, allowance, one_call, total


def bucket(per_minute: float = 60.0, burst: float = 1.0) -> Bucket:
    return allowance("limit", Count.REQUESTS, per_minute, burst, 0.0)


def window(limit: float, level: float, full_at: float) -> Refilled:
    return Refilled("limit", Count.REQUESTS, limit, 0.0, level, 0.0, full_at)


def test_a_full_bucket_gives_its_content_at_once_and_then_its_rate() -> None:
    """60 a minute: 60 now, then one each second."""
    limit = bucket()
    for _ in range(60):
        assert limit.wait(1, 0, 10.0) == 0.0
        limit.take(1, 10.0)
    assert limit.wait(1, 0, 10.0) == 1.0
    assert limit.wait(1, 0, 10.25) == 0.75
    assert limit.wait(1, 0, 11.0) == 0.0


def test_it_holds_the_burst_and_no_more() -> None:
    """A tenth of the allowance, however long nobody calls; one call always fits."""
    assert bucket(60, 0.1).wait(7, 0, 1000.0) == 0.0  # more than it holds: a full bucket is enough
    limit = bucket(60, 0.1)
    limit.take(6, 1000.0)
    assert limit.wait(1, 0, 1000.0) == 1.0
    assert bucket(5, 0.01).capacity == 1.0


def test_those_ahead_are_waited_for() -> None:
    """The wait is until they and oneself are served."""
    limit = bucket()
    limit.take(60, 0.0)
    assert limit.wait(2, 10, 0.0) == 12.0


def test_what_is_owed_is_paid_back_first() -> None:
    """After a correction the level may be below nothing."""
    limit = bucket()
    limit.take(90, 0.0)
    assert limit.wait(1, 0, 0.0) == 31.0
    limit.take(-30, 0.0)
    assert limit.wait(1, 0, 0.0) == 1.0
    limit.take(-1000, 0.0)
    assert limit.level == 60.0


def test_a_wait_is_never_too_short_to_end() -> None:
    """Rounding does not make a wait of nothing, nor one that time cannot show."""
    limit = bucket(60_000_000)
    limit.take(60_000_000 + 1e-3, 0.0)
    assert limit.wait(1e-4, 0, 0.0) == 0.001
    limit = bucket()
    limit.take(60 - 1 + 1e-9, 0.0)
    assert limit.wait(1, 0, 0.0) == 0.0


def test_time_does_not_run_backwards() -> None:
    """Two threads may come in the wrong order: nothing is filled twice."""
    limit = bucket()
    limit.take(60, 10.0)
    assert limit.wait(1, 0, 9.0) == 1.0
    assert limit.wait(1, 0, 11.0) == 0.0
    assert limit.level == 1.0


def test_a_window_is_filled_at_its_instant() -> None:
    """All at once, and again each minute."""
    limit = window(10, 2, 30.0)
    limit.take(2, 0.0)
    assert [limit.wait(1, 0, now) for now in (0.0, 29.0, 30.0)] == [30.0, 1.0, 0.0]
    limit.take(10, 30.0)
    assert limit.wait(1, 0, 31.0) == 59.0
    assert limit.wait(1, 0, 500.0) == 0.0
    assert limit.full_at == 510.0


def test_a_window_counts_the_windows_ahead() -> None:
    """Ten a minute: the 25th in line is served at the third filling."""
    limit = window(10, 0, 30.0)
    assert [limit.wait(1, ahead, 0.0) for ahead in (0, 9, 10, 19, 20, 24)] == [30, 30, 90, 90, 150, 150]


def test_a_call_counts_by_what_is_limited() -> None:
    """One request, the sum of its tokens, and each kind."""
    assert one_call(70, 30) == (1, 100, 70, 30)
    assert one_call() == (1, 0, 0, 0)
    assert total(one_call(7, 3), one_call(1, 1)) == (2, 12, 8, 4)
    assert total(one_call(7, 3), one_call(7, 3), -1) == NOTHING
    assert [count.words for count in Count] == [
        "requests",
        "tokens",
        "tokens of prompts",
        "tokens of answers",
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 600),
    st.sampled_from([0.05, 0.5, 1.0]),
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 40)), min_size=1, max_size=120),
)
def test_never_more_than_the_theory_allows(per_minute: int, burst: float, calls) -> None:
    """In every stretch of time at most capacity + rate x time is taken, by a count of its own."""
    limit, now = bucket(per_minute, burst), 0.0
    rate, capacity = per_minute / 60, max(1.0, per_minute * burst)
    taken: list[tuple[float, float]] = []
    arrived = 0.0
    for pause, asked in calls:
        arrived += pause
        now = max(now, arrived)
        amount = min(asked, capacity)
        now += limit.wait(amount, 0, now)
        limit.take(amount, now)
        taken.append((now, amount))
    for first, (begin, _) in enumerate(taken):
        used = 0.0
        for end, amount in taken[first:]:
            used += amount
            assert used <= capacity + rate * (end - begin) + 1e-3


def test_a_queue_uses_all_of_the_allowance() -> None:
    """Over ten minutes of demand, capacity and rate are used up to the last call."""
    limit, now, served = bucket(60, 0.1), 0.0, 0
    while now <= 600.0:
        now += limit.wait(1, 0, now)
        limit.take(1, now)
        served += 1
    assert served == pytest.approx(606, abs=1)


def test_amounts_are_added_and_taken_off_one_by_one() -> None:
    """Requests, tokens, those of prompts and those of answers."""
    assert total((1, 2, 3, 4), (2, 4, 6, 8)) == (3, 6, 9, 12)
    assert total((1, 2, 3, 4), (2, 4, 6, 8), -1) == (-1, -2, -3, -4)


def test_a_bucket_is_full_again_in_time_or_when_all_is_given_back() -> None:
    """Only then would a new one know as much."""
    limit = bucket()
    assert limit.is_full(0.0)
    limit.take(6, 0.0)
    assert [limit.is_full(now) for now in (0.0, 5.9, 6.0)] == [False, False, True]
    limit.take(6, 6.0)
    limit.give(6, 6.0, 6.0)
    assert limit.is_full(6.0)


def test_limits_count_four_things() -> None:
    """In the order of the amounts, which begin with nothing; a call is one request."""
    assert [Count(place).words for place in range(4)] == [
        "requests",
        "tokens",
        "tokens of prompts",
        "tokens of answers",
    ]
    assert (NOTHING, one_call(), one_call(3, 4)) == ((0, 0, 0, 0), (1, 0, 0, 0), (1, 7, 3, 4))
