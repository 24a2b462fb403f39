"""The window of a limit that a fleet shares, slot by slot: half a second each, 61 seconds in all."""

from __future__ import annotations

import pytest

from resilient_llm.policy.fleet_window import FleetWindow


@pytest.fixture
def window() -> FleetWindow:
    """Five a window; two were taken in slot 2000, three in slot 2010."""
    made = FleetWindow(5.0, 0.5)
    made.take(2.0, 0.0, 1000.2)
    made.take(3.0, 0.0, 1005.0)
    return made


def test_what_was_taken_counts_until_the_window_has_passed_since_its_slot_began(window) -> None:
    """To the instant; then it is forgotten."""
    assert (window.used(1060.9), window.used(1061.0), window.used(1066.0)) == (5.0, 3.0, 0.0)
    assert window.slots == {}


def test_what_was_taken_since_an_instant_counts_from_its_slot_on(window) -> None:
    """A slot that ends at that instant does not count, nor what has left the window."""
    assert [window.used_since(at, 1010.0) for at in (1000.4, 1000.5, 1005.5)] == [5.0, 3.0, 0.0]
    assert window.used_since(0.0, 1061.0) == 3.0


@pytest.mark.parametrize(
    ("need", "more", "given"), [(1.0, 0.0, 1.0), (1.0, 2.5, 3.5), (1.0, 9.0, 5.0), (7.0, 1.0, 7.0)]
)
def test_the_need_is_taken_and_as_much_more_as_there_is(need: float, more: float, given: float) -> None:
    """Of five; what is taken in one slot adds up."""
    window = FleetWindow(5.0, 0.5)
    assert window.take(need, more, 1000.2) == given
    assert window.take(1.0, 0.0, 1000.4) == 1.0
    assert window.slots == {2000: given + 1.0}


def test_of_a_used_up_window_no_more_is_taken_than_needed(window) -> None:
    """What counts already leaves nothing beyond the need."""
    assert window.take(1.0, 3.0, 1010.0) == 1.0


def test_amounts_go_back_into_the_slot_they_came_from(window) -> None:
    """As it was then, not now."""
    window.put_back([(1.0, 1.0), (1.5, 0.8)], 1006.0)
    assert window.slots == {2000: 2.0, 2010: 0.5}


def test_what_its_slot_did_not_hold_goes_back_into_the_two_before() -> None:
    """Not further back, and never more than was taken."""
    window = FleetWindow(9.0, 0.5)
    for slot in (2007, 2008, 2009, 2010):
        window.take(1.0, 0.0, slot / 2)
    window.put_back([(1.5, 0.0)], 1005.0)
    assert window.slots == {2007: 1.0, 2008: 1.0, 2009: 0.5, 2010: 0.0}
    window.put_back([(4.0, 0.0)], 1005.0)
    assert window.slots == {2007: 1.0, 2008: 0.0, 2009: 0.0, 2010: 0.0}


@pytest.mark.parametrize(
    ("need", "seconds"), [(0.0, 0.0), (2.0, 51.0), (2.5, 56.0), (5.0, 56.0), (9.0, 56.0)]
)
def test_the_wait_lasts_until_enough_slots_have_left(window, need: float, seconds: float) -> None:
    """No longer than for the last of them, and not at all where there is enough."""
    assert window.wait(need, 1010.0) == seconds


def test_an_empty_window_lets_nobody_wait() -> None:
    """Not even for more than it ever holds."""
    assert FleetWindow(5.0, 0.5).wait(9.0, 1000.0) == 0.0
