"""The shared cool-down: only time ends it, and only news prolong it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.policy.cooldown import Cooldown


def test_a_refusal_holds_back_for_as_long_as_was_asked() -> None:
    """Until that instant and not longer."""
    cooldown = Cooldown(300.0)
    assert cooldown.left(5.0) == 0.0
    cooldown.refused(2.0, 5.0)
    assert [cooldown.left(now) for now in (5.0, 6.5, 7.0, 100.0)] == [2.0, 0.5, 0.0, 0.0]


def test_what_is_asked_for_is_bounded() -> None:
    """A day becomes the longest cool-down there is."""
    cooldown = Cooldown(300.0)
    cooldown.refused(86400.0, 0.0)
    assert cooldown.left(0.0) == 300.0


def test_without_a_word_it_doubles_until_a_success() -> None:
    """Half a second, one, two, ... at most 30, however often; after a success it begins again."""
    cooldown, now, seen = Cooldown(300.0), 0.0, []
    for _ in range(2000):
        cooldown.refused(None, now)
        seen.append(cooldown.left(now))
        now += 100.0
    assert seen[:9] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert set(seen[9:]) == {30.0}
    cooldown.succeeded(cooldown.generation)
    cooldown.refused(0.0, now)  # a wait of nothing says nothing
    assert cooldown.left(now) == 0.5


def test_those_in_flight_do_not_double_it() -> None:
    """A hundred refusals while it lasts are one event; each may still ask for more time."""
    cooldown = Cooldown(300.0)
    for number in range(100):
        cooldown.refused(None, number / 1000)
    assert cooldown.left(0.1) == 0.4
    cooldown.refused(3.0, 0.1)
    assert cooldown.left(0.1) == 3.0
    cooldown.refused(1.0, 0.1)
    assert cooldown.left(0.1) == 3.0
    assert cooldown.generation == 1


def test_a_refusal_after_the_cool_down_begins_a_new_one() -> None:
    """Whenever its call was sent: the stream that is refused in its middle is news."""
    cooldown = Cooldown(300.0)
    cooldown.refused(None, 0.0)
    cooldown.refused(None, 0.5)
    assert cooldown.left(0.5) == 1.0
    assert cooldown.generation == 2


@pytest.mark.parametrize("sent", [0, 1])
def test_a_success_of_an_older_call_says_nothing(sent: int) -> None:
    """Only a call that was sent after the cool-down shows that it is over."""
    cooldown = Cooldown(300.0)
    cooldown.refused(None, 0.0)
    cooldown.succeeded(sent)
    assert cooldown.left(0.0) == 0.5  # nothing shortens it
    cooldown.refused(None, 0.5)
    assert cooldown.left(0.5) == (0.5 if sent else 1.0)


@given(st.lists(st.tuples(st.floats(0, 50), st.one_of(st.none(), st.floats(0, 400)))))
def test_it_is_never_shortened_and_never_too_long(events) -> None:
    """Whatever happens: what is left counts down by itself or goes up, and stays within the bound."""
    cooldown, now, until = Cooldown(300.0), 0.0, 0.0
    for passed, asked in events:
        now += passed
        assert cooldown.left(now) == pytest.approx(max(0.0, until - now), abs=1e-6)
        cooldown.refused(asked, now)
        assert cooldown.left(now) <= 300.0 + 1e-6
        assert now + cooldown.left(now) >= until - 1e-6
        until = now + cooldown.left(now)
        assert cooldown.left(now) >= min(asked or 0.0, 300.0) - 1e-6
