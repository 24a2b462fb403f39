"""The rolling window: counts that leave with their bucket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.policy.window import Totals, Window


def test_an_empty_window_has_no_counts():
    """Nothing was counted, so both totals are 0."""
    assert Window(120).totals(5.0) == Totals(successes=0, failures=0)


def test_successes_and_failures_are_counted_apart():
    """Each result lands in its own total."""
    window = Window(120)
    for failed in (True, False, True):
        window.add(1.0, failed=failed)
    assert window.totals(1.0) == Totals(successes=1, failures=2)


def test_a_count_stays_for_the_window_less_a_bucket_and_is_gone_after_the_window():
    """With 12 buckets of 10 s, a count is sure to be there for 110 s and sure to be gone after 120 s."""
    window = Window(120, buckets=12)
    window.add(1009.9, failed=True)
    assert window.totals(1009.9 + 110).failures == 1
    assert window.totals(1009.9 + 120).failures == 0


def test_buckets_leave_one_by_one():
    """Only what is too old leaves."""
    window = Window(120, buckets=12)
    window.add(0.0, failed=True)
    window.add(60.0, failed=False)
    assert window.totals(125.0) == Totals(successes=1, failures=0)


def test_a_long_pause_empties_the_window_at_once():
    """A gap of many windows leaves nothing behind, and counting goes on."""
    window = Window(120)
    for second in range(120):
        window.add(float(second), failed=second % 2 == 0)
    window.add(1e9, failed=True)
    assert window.totals(1e9) == Totals(successes=0, failures=1)


def test_an_instant_of_the_past_counts_as_now():
    """Time that goes back neither raises nor drops anything."""
    window = Window(120)
    window.add(1000.0, failed=True)
    window.add(10.0, failed=True)
    assert window.totals(1000.0).failures == 2
    assert window.totals(10.0).failures == 2


def test_clear_forgets_everything_now_and_later():
    """After `clear` no old bucket comes off the new totals."""
    window = Window(120)
    window.add(0.0, failed=True)
    window.add(0.0, failed=False)
    window.clear()
    assert window.totals(0.0) == Totals(successes=0, failures=0)
    window.add(1.0, failed=True)
    assert window.totals(119.0) == Totals(successes=0, failures=1)
    assert window.totals(130.0) == Totals(successes=0, failures=0)


@given(
    steps=st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=60),
    buckets=st.integers(1, 15),
)
def test_the_totals_are_those_of_the_last_buckets(steps: list[tuple[int, bool]], buckets: int):
    """Whatever is counted when, the totals equal a recount of the results whose bucket is among the last."""
    width = 8.0
    window = Window(width * buckets, buckets=buckets)
    now, seen = 0.0, []
    for gap, failed in steps:
        now += gap / 4
        window.add(now, failed=failed)
        seen.append((now // width, failed))
        recent = [failure for tick, failure in seen if tick > now // width - buckets]
        assert window.totals(now) == Totals(recent.count(False), recent.count(True))


def test_a_window_has_twelve_buckets() -> None:
    """Unless it is told otherwise: of two minutes, each is ten seconds long."""
    window = Window(120)
    window.add(9.9, failed=True)
    assert [window.totals(now).failures for now in (119.9, 120.0)] == [1, 0]
