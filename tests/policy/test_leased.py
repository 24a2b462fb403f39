"""A limit that a fleet shares: the window, and the bucket that is filled from it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.policy.buckets import SOON, Count
from resilient_llm.policy.fleet_window import SLOTS, WINDOW, FleetWindow
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


def test_no_portion_is_larger_than_a_slots_share_of_the_limit() -> None:
    """However fast they are used up."""
    made, asked = bucket(240), []
    for step in range(10):
        want = made.wanted(1, 10 + step * 0.01)
        if want is not None:
            asked.append(want.more)
            made.given(want.need + want.more, 10 + step * 0.01)
        made.take(1, 10 + step * 0.01)
    assert asked == [0, 1, 2, 2, 2]


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


def test_what_is_leased_lapses_when_its_slot_ends() -> None:
    """To the instant, counted from its first portion; from then on it is neither there nor used."""
    single, made = bucket(), bucket()
    single.given(1, 10.0)
    assert (single.wait(1, 0, 10.4), single.wait(1, 0, 10.5)) == (0, SOON)
    made.given(1, 10.0)
    made.given(1, 10.3)
    assert made.wait(2, 0, 10.4) == 0
    assert made.wait(1, 0, 10.5) > 0
    want = made.wanted(1, 10.5)
    assert want is not None
    assert (want.need, want.more, [some for some, _ in want.unused]) == (1, 0, [2])


def test_what_has_lapsed_is_not_used() -> None:
    """Who takes after that owes it, and all that was leased goes back, once."""
    made = bucket()
    made.given(3, 10.0)
    made.take(1, 10.6)
    want, again = made.wanted(1, 10.6), made.wanted(1, 10.6)
    assert want is not None
    assert again is not None
    assert (want.need, [some for some, _ in want.unused], again.unused) == (2, [3], ())


def test_a_portion_does_not_grow_where_the_last_one_lasted_its_slot() -> None:
    """To the instant; and it is never less than nothing."""
    for now, more in ((10.4, 1), (10.5, 0)):
        made = bucket()
        made.given(1, 10.0)
        made.take(1, 10.0)
        want = made.wanted(1, now)
        assert want is not None
        assert want.more == more


def test_what_is_given_back_can_be_taken_again() -> None:
    """Alone from its slot; of the fleet with the next question, which nothing given back does not bring about."""
    made = bucket()
    made.reach(120, 9.0, alone=True)
    made.take(1, 10.0)
    made.give(1, 10.0, 20.0)
    assert made.wait(1, 0, 20.0) == 0
    made.reach(120, 20.0, alone=False)
    want = made.wanted(1, 20.0)
    assert want is not None
    assert want.unused == ((1, 10.0),)
    made.refused(30.0, 20.0)
    made.give(0, 20.0, 20.0)
    assert made.wanted(1, 20.0) is None


def test_a_process_of_many_may_use_one_alone() -> None:
    """However many there are."""
    made = bucket()
    made.reach(1000, 10.0, alone=True)
    made.take(1, 10.0)
    assert made.wait(1, 0, 10.0) > 60


def test_only_what_was_used_alone_is_charged() -> None:
    """From the first moment alone; what was left of a portion has gone by then, what was owed has not."""
    made = bucket()
    made.given(5, 10.0)
    made.take(3, 10.0)
    made.reach(4, 10.1, alone=True)
    made.reach(4, 10.2, alone=False)
    assert made._have == -3  # the slot in which it was left counts whole
    made.take(2, 15.0)
    made.reach(4, 20.0, alone=True)
    made.take(1, 21.0)
    made.reach(4, 25.0, alone=True)
    made.take(1, 26.0)
    made.reach(4, 30.0, alone=False)
    want = made.wanted(1, 30.0)
    assert want is not None
    assert want.need == 1 + 3 + 2 + 2


def test_what_is_kept_is_bounded() -> None:
    """Slots that are over, and amounts to be given back beyond a hundred, are forgotten."""
    made = bucket()
    for second in range(200):
        made.take(1, float(second))
        made.give(1, float(second), float(second))
    assert len(made._own.slots) <= WINDOW
    want = made.wanted(1, 200.0)
    assert want is not None
    assert len(want.unused) == 100


def test_a_limit_holds_its_share_of_a_minute_and_at_least_one() -> None:
    """Its slots are a 120th of the time in which that much comes."""
    half, least = (leased("n", Count.TOKENS, rate, 0.5, 0.0) for rate in (600.0, 1.0))
    assert (half.capacity, half.slot, half.rate) == (300.0, 0.25, 10.0)
    assert (least.capacity, least.slot) == (1.0, 0.5)
