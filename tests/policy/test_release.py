"""The pace after a cool-down: what begins it, what changes it, when it ends; against predictions of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.policy import release
from resilient_llm.policy.buckets import one_call
from resilient_llm.policy.rate_limit import Held, Pace, Ticket
from resilient_llm.policy.release import AnswerRates, Delay, Growing, Release

ONE = one_call()


def begun(seen: float = 5.0) -> Release:
    """Refused at 0, for a second, by a backend that answered so many calls a second."""
    found = Release()
    found.refused(-1.0, seen, 0.0, 1.0)
    return found


# The rate before a refusal ...


@given(st.lists(st.floats(0, 1), max_size=60))
def test_the_rate_is_that_of_the_last_five_seconds(gaps: list[float]) -> None:
    """Counted by hand, but for a quarter of a second in which answers may or may not be forgotten yet."""
    rates, now, at = AnswerRates(), 0.0, []
    for gap in gaps:
        now += gap
        at.append(now)
        rates.answered("m", now)
    if not at:
        assert rates.per_second("m", now) == 0.0
        return
    least, most = (sum(1 for when in at if now - when < span) for span in (4.74, 5.01))
    seconds = min(5.0, max(1.0, now - at[0]))
    found = rates.per_second("m", now)
    if least >= 5:
        assert least / seconds <= found + 1e-9
    assert found <= most / seconds + 1e-9
    if most < 5:
        assert found == 0.0
    assert rates.per_second("other", now) == 0.0


def test_the_number_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten."""
    monkeypatch.setattr(release, "MAX_KEYS", 2)
    rates = AnswerRates()
    for key in "abc":
        for _ in range(5):
            rates.answered(key, 0.0)
    assert [rates.per_second(key, 0.0) for key in "abc"] == [0.0, 5.0, 5.0]


# The pace ...


@given(
    st.lists(
        st.tuples(st.sampled_from(["refused", "answered", "late news"]), st.floats(0.001, 1.0)), max_size=80
    ),
    st.floats(1.0, 50.0),
)
def test_the_pace_is_what_the_news_add_up_to(news: list[tuple[str, float]], seen: float) -> None:
    """Half after a refusal, 3.2/s more after each very quick answer, nothing for calls sent before it last fell."""
    pace, now, fell, expected = begun(seen), 1.0, 0.0, seen
    for what, passed in news:
        now += passed
        if what == "refused":
            pace.refused(now - 0.0005, 99.0, now, now + 1.0)
            expected, fell = max(expected / 2, seen / 2), now
        elif what == "answered":
            pace.answered(now - 0.0005, 99.0, now)
            expected += 3.2
        else:
            pace.answered(fell - 0.0005, 99.0, now)
            pace.refused(fell - 0.0005, 99.0, now, now)
        assert pace.bucket is not None
        assert pace.bucket.rate == pytest.approx(expected)


def test_refusals_alone_bring_it_down_to_half() -> None:
    """Less is for cool-downs to see to; where it fell lower because calls piled up, a refusal does not raise it."""
    pace = begun(8.0)
    assert pace.bucket is not None
    for at in (2.0, 4.0, 6.0):
        pace.refused(at - 0.5, 99.0, at, at + 1.0)
        assert pace.bucket.rate == 4.0
    pace.bucket.change(1.0, 7.0)
    pace.refused(7.5, 99.0, 8.0, 9.0)
    assert pace.bucket.rate == 1.0


def test_it_grows_by_a_sixth_in_the_time_of_an_answer() -> None:
    """So quick backends are quickly back to what they bear, and slow ones are not overrun."""
    for seconds in (0.1, 0.8, 4.0):
        pace = begun(8.0)
        assert pace.bucket is not None
        pace.answered(2.0 - seconds / 8, 99.0, 2.0)
        assert pace.bucket.rate == pytest.approx(8.0 + 0.16 / max(0.05, seconds / 8))


def test_nothing_is_known_at_first() -> None:
    """The refusals of a backend that answered hardly any hold nobody back; once it has, the next one halves that."""
    pace = begun(0.0)
    assert pace.bucket is None
    assert pace.lasts(10.9)
    pace.answered(1.5, 0.0, 2.0)
    assert pace.bucket is None
    pace.refused(1.5, 0.0, 2.0, 3.0)
    assert pace.bucket is None
    pace.refused(3.5, 4.0, 4.0, 5.0)
    assert pace.bucket is not None
    assert pace.bucket.rate == 2.0


def test_it_ends_when_nobody_waits() -> None:
    """Ten seconds after the cool-down, or after the last one's turn; then it begins anew."""
    pace = begun()
    assert pace.lasts(10.9)
    assert not pace.lasts(11.0)
    assert pace.bucket is None
    pace = begun()
    pace.awaited(4.0)
    pace.awaited(3.0)
    assert pace.lasts(13.9)
    assert not pace.lasts(14.0)
    pace.refused(13.0, 8.0, 14.0, 15.0)
    assert pace.bucket is not None
    assert pace.bucket.rate == 8.0


def test_where_answers_come_late_it_falls_below_what_is_answered() -> None:
    """Once, for all calls that were sent before; it is never raised by that."""
    pace, now = begun(), 1.0
    for _ in range(20):
        now += 0.2
        pace.answered(now - 1.0 if now > 2.1 else now - 0.1, 5.0, now)
    assert pace.bucket is not None
    high = pace.bucket.rate
    mean, expected = 0.0, 5.0
    for number, seconds in enumerate([0.1] * 5 + [1.0] * 15, 1):
        mean += (seconds - mean) / min(number, 16)
        expected += 0.16 / mean
    assert high == pytest.approx(expected)
    while pace.bucket.rate >= high:
        now += 0.2
        high = pace.bucket.rate
        pace.answered(now - 3.0, 5.0, now)
    assert pace.bucket.rate == 4.0
    pace.answered(now - 3.0, 5.0, now + 0.2)
    assert pace.bucket.rate == 4.0
    assert now < 8.0


@pytest.mark.parametrize(("seen", "expected"), [(4.0, 3.2), (99.0, 17.8), (0.0, 8.9)])
def test_it_falls_but_to_what_is_known(seen: float, expected: float) -> None:
    """To four fifths of what is answered, never upwards; to half where too few are."""
    pace, now = begun(), 1.0
    for seconds in [0.1] * 8 + [30.0]:
        now += 31.0
        pace.awaited(now)
        pace.answered(now - seconds, seen, now)
    assert pace.bucket is not None
    assert pace.bucket.rate == pytest.approx(expected)


def test_late_is_three_times_as_long_as_at_first() -> None:
    """By the mean of at least eight answers; half a second is no delay; then a new mean is begun."""
    delay = Delay()
    assert not any(delay.late(2.0) for _ in range(20))
    late = [delay.late(8.0) for _ in range(40)]
    first = late.index(True)
    mean = 2.0
    for _ in range(first + 1):
        mean += (8.0 - mean) / 16
    assert mean > 6.0 >= mean - (8.0 - mean) / 15
    assert late[first + 1 :].index(True) == 7
    quick = Delay()
    assert not any(quick.late(seconds) for seconds in [0.001] * 20 + [1.4] * 50)
    assert any(quick.late(1.6) for _ in range(50))


@given(st.floats(0.1, 100.0), st.integers(1, 300))
def test_a_wait_is_the_soonest_that_may_be(rate: float, number: int) -> None:
    """Whoever is so far behind comes no sooner if each call is answered at once, and hardly later."""
    bucket = Growing.of(rate, 0.0)
    told = bucket.wait(1, number, 0.0)
    soonest = sum(1 / (rate + 0.16 * place) for place in range(number))
    later = sum(1 / (rate + 0.16 * place) for place in range(1, number))
    assert later - 0.001 <= told <= soonest + 0.001


# Of a key ...


def known(seen: float = 2.0) -> Pace:
    """Refused at 0 for four seconds."""
    pace = Pace([], 300.0)
    assert pace.limited(4.0, 0.0, sent=0.0, seen=seen)
    return pace


def test_calls_go_one_after_the_other() -> None:
    """None before the cool-down is over; each is told when, and that is no time for all to sleep at once."""
    pace = known()
    held = pace.enter(ONE, 1.0)
    assert isinstance(held, Held)
    assert (held.seconds, held.cooling) == (3.0, False)
    waits = [found.seconds if (found := pace.queue(ONE, 2.0)) else 0.0 for _ in range(3)]
    assert waits[0] == 2.0
    assert 2.4 < waits[1] < 2.5 < waits[2] < 3.0
    now, at = 3.0, []
    while len(at) < 4:
        entered = pace.enter(ONE, now)
        if isinstance(entered, Ticket):
            at.append(now)
        else:
            now += entered.seconds
    assert at == pytest.approx([4.0, 4.5, 5.0, 5.5], abs=0.005)


def test_what_was_not_sent_is_no_part_of_the_pace() -> None:
    """Its place is free for the next one."""
    pace = known()
    ticket = pace.enter(ONE, 4.0)
    assert isinstance(ticket, Ticket)
    assert isinstance(pace.enter(ONE, 4.0), Held)
    pace.unsent(ticket, 4.0)
    assert isinstance(pace.enter(ONE, 4.0), Ticket)


def test_a_refusal_at_the_pace_lasts_no_longer_than_was_asked() -> None:
    """The cool-down is the server's; only what comes after it is slower. Those in flight are no news."""
    pace = known()
    tickets = [pace.enter(ONE, at) for at in (4.0, 4.5)]
    assert all(isinstance(ticket, Ticket) for ticket in tickets)
    assert pace.limited(2.0, 5.0, sent=4.0, seen=1.0)
    assert pace.cooling(5.0) == 2.0
    assert not pace.limited(2.0, 5.1, sent=4.5, seen=1.0)
    assert pace.cooling(5.1) == 2.0
    assert isinstance(pace.enter(ONE, 7.1), Ticket)
    held = pace.enter(ONE, 7.1)
    assert isinstance(held, Held)
    assert 0.8 < held.seconds <= 1.0
    assert held.why == "the pace after a rate limit"


def test_the_rate_is_taken_since_the_first_answer() -> None:
    """Not since the clock began, and not over more time than there was."""
    rates = AnswerRates()
    for number in range(10):
        rates.answered("m", 1000 + number * 0.2)
    assert rates.per_second("m", 1002.0) == pytest.approx(5.0)


def test_what_is_borne_is_first_known_at_a_later_refusal() -> None:
    """Refusals alone do not bring the pace below half of it, whenever it was learned."""
    release = Release()
    release.refused(0.0, 0.0, 0.0, 1.0)
    assert release.bucket is None
    for sent in (2.0, 4.0, 6.0):
        release.refused(sent, 8.0, sent + 0.5, sent + 1.0)
        assert release.bucket.rate == 4.0
