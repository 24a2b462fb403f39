"""A limit that a fleet shares: the window, and the bucket that is filled from it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.policy.buckets import Count
from resilient_llm.policy.fleet_window import SLOTS, FleetWindow
from resilient_llm.policy.leased import Leased, leased

STEPS = st.lists(st.tuples(st.floats(0, 5), st.integers(1, 4), st.floats(0, 1)), min_size=1, max_size=80)


@given(STEPS)
def test_no_span_of_the_limits_length_holds_more_than_the_limit(
    steps: list[tuple[float, int, float]],
) -> None:
    """Whatever is taken, and used within a slot of that, at whatever times."""
    window, now, used = FleetWindow(5.0, 0.1), 1000.0, []
    for pause, need, delay in steps:
        now += pause
        if not window.wait(need, now):
            window.take(need, 0.0, now)
            used.append((now + delay * 0.0999, need))
    for first, _ in used:
        assert sum(need for at, need in used if first <= at < first + SLOTS * 0.1) <= 5


@given(STEPS)
def test_whoever_waits_as_long_as_told_gets_it(steps: list[tuple[float, int, float]]) -> None:
    """The wait is never too short, and less than a window and its margin."""
    window, now = FleetWindow(5.0, 0.1), 1000.0
    for pause, need, _ in steps:
        now += pause
        wait = window.wait(need, now)
        assert wait <= 12.2 + 1e-6
        now += wait + 1e-6
        assert window.wait(need, now) == 0
        assert window.take(need, 0.0, now) == need


def bucket(per_minute: float = 120.0) -> Leased:
    return leased("requests_per_minute", Count.REQUESTS, per_minute, 1.0, 0.0)


def test_what_is_leased_can_be_taken_for_a_slot() -> None:
    """Then it lapses, and is given back with the next question."""
    made = bucket()
    want = made.wanted(1, 10.0)
    assert want is not None
    assert (want.need, want.more, want.unused, want.slot) == (1, 0, (), 0.5)
    made.given(3, 10.0)
    assert made.wait(1, 0, 10.1) == 0
    made.take(1, 10.1)
    assert made.wanted(1, 10.2) is None
    again = made.wanted(1, 10.6)
    assert again is not None
    assert again.need == 1
    assert [(some, round(age, 3)) for some, age in again.unused] == [(2, 0.6)]


def test_portions_grow_while_they_are_used_up_and_shrink_when_they_lapse() -> None:
    """Up to a 120th of the limit."""
    made, asked = bucket(120 * 60), []
    for step in range(18):
        now = 10 + step * 0.01
        want = made.wanted(1, now)
        if want is not None:
            asked.append(want.more)
            made.given(want.need + want.more, now)
        made.take(1, now)
    assert asked == [0, 1, 2, 4, 8]
    lapsed = made.wanted(1, 12.0)
    assert lapsed is not None
    assert (lapsed.more, [some for some, _ in lapsed.unused]) == (6, [2])


def test_a_refusal_is_believed_for_a_second_or_until_something_is_given_back() -> None:
    """Then the fleet is asked again."""
    made = bucket()
    made.refused(30.0, 10.0)
    assert made.wanted(1, 10.9) is None
    assert math.isclose(made.wait(1, 0, 10.9), 0.1)
    made.give(1, 9.9, 10.9)
    assert made.wanted(1, 10.9) is not None
    made.refused(0.2, 11.0)
    assert made.wanted(1, 11.2) is not None


def test_alone_a_process_keeps_to_its_part() -> None:
    """120 a minute over four processes are 30 in any minute; what was used is charged when the fleet is back."""
    made = bucket()
    made.reach(4, 10.0, alone=True)
    assert made.wanted(1, 10.0) is None
    taken = 0
    while not made.wait(1, 0, 10.0):
        made.take(1, 10.0)
        taken += 1
    assert taken == 30
    assert 60 < made.wait(1, 0, 10.0) <= 61
    made.reach(4, 20.0, alone=False)
    want = made.wanted(1, 20.0)
    assert want is not None
    assert want.need == 31


def test_what_was_used_before_counts_when_it_is_alone() -> None:
    """The part of a process is not new because Redis is gone."""
    made = bucket()
    made.given(30, 10.0)
    for _ in range(30):
        made.take(1, 10.0)
    made.reach(4, 11.0, alone=True)
    assert made.wait(1, 0, 11.0) > 50
    assert not made.is_full(11.0)
    assert made.is_full(80.0)


def test_alone_nobody_goes_before_the_fleet_has_something() -> None:
    """A limit that was used up is used up, also where nobody can be asked any more."""
    made = bucket()
    made.refused(5.0, 10.0)
    made.reach(4, 11.0, alone=True)
    assert made.wait(1, 0, 11.0) == 4.0
    assert made.wait(1, 0, 15.0) == 0.0
