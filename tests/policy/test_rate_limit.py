"""The pace of one key: own limits against a replay of all that happened, and the picture of the backend's."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    multiple,
    rule,
    run_state_machine_as_test,
)

from resilient_llm.models import Usage
from resilient_llm.policy.buckets import Count, allowance, one_call
from resilient_llm.policy.rate_headers import Told
from resilient_llm.policy.rate_limit import GUESSED_ANSWER, STRANGER, Held, Pace, Ticket

ONE = one_call()


def requests(limit: float, remaining: float, reset: float, *, steady: bool = True) -> Told:
    return Told("requests", Count.REQUESTS, limit, remaining, reset, steady)


def tokens(counts: Count, limit: float, remaining: float, reset: float) -> Told:
    return Told(counts.words, counts, limit, remaining, reset, steady=True)


def unlimited() -> Pace:
    return Pace([], 300.0)


def enter(pace: Pace, now: float, amounts=ONE) -> Ticket:
    entered = pace.enter(amounts, now)
    assert isinstance(entered, Ticket)
    return entered


def wait(pace: Pace, now: float, amounts=ONE) -> float:
    """How long a call would be held back; it does not enter."""
    held = pace.queue(amounts, now)
    pace.unqueue(amounts)
    return held.seconds if held else 0.0


# What headers teach ...


def test_what_remains_may_be_sent_and_no_more() -> None:
    """Two of ten remain, the others are back in eight seconds: two go now, then one each second."""
    pace = unlimited()
    pace.learn(enter(pace, 0.0), [requests(10, 2, 8.0)], 0.0)
    enter(pace, 0.0)
    enter(pace, 0.0)
    held = pace.enter(ONE, 0.0)
    assert held == Held(1.0, "the backend's limit on requests")
    assert wait(pace, 0.75) == 0.25
    enter(pace, 1.0)
    assert wait(pace, 1.0) == 1.0


def test_a_window_is_waited_for() -> None:
    """Where all comes back at once, nothing goes before."""
    pace = unlimited()
    pace.learn(enter(pace, 0.0), [requests(10, 0, 8.0, steady=False)], 0.0)
    assert [wait(pace, now) for now in (0.0, 7.5, 8.0)] == [8.0, 0.5, 0.0]


@pytest.mark.parametrize(("steady", "seconds"), [(True, 1.0), (False, 5.0)])
def test_calls_that_the_answer_did_not_know_of_are_taken_off(steady: bool, seconds: float) -> None:
    """Three were sent after the one whose answer says that five remain."""
    pace = unlimited()
    first = enter(pace, 0.0)
    for _ in range(3):
        enter(pace, 0.0)
    pace.learn(first, [requests(10, 5, 5.0, steady=steady)], 0.0)
    enter(pace, 0.0)
    enter(pace, 0.0)
    assert wait(pace, 0.0) == seconds


def test_what_came_back_since_pays_for_them() -> None:
    """Five seconds at one a second cover the three that the answer did not know of, but add nothing to it."""
    pace = unlimited()
    first = enter(pace, 0.0)
    for _ in range(3):
        enter(pace, 0.0)
    pace.learn(first, [requests(10, 5, 5.0)], 5.0)
    for _ in range(5):
        enter(pace, 5.0)
    assert wait(pace, 5.0) == 1.0


def test_calls_sent_before_it_are_in_the_figure() -> None:
    """They need not be taken off again, whether they were answered or not."""
    pace = unlimited()
    for _ in range(3):
        enter(pace, 0.0)
    pace.learn(enter(pace, 0.0), [requests(10, 5, 5.0)], 0.0)
    for _ in range(5):
        enter(pace, 0.0)
    assert wait(pace, 0.0) == 1.0


def test_an_older_answer_does_not_spoil_the_picture() -> None:
    """The answer of a call that was sent earlier is not looked at, whenever it comes; nor is a stranger's."""
    pace = unlimited()
    old = enter(pace, 0.0)
    pace.learn(enter(pace, 1.0), [requests(10, 0, 10.0)], 2.0)
    pace.learn(old, [requests(10, 10, 0.0)], 3.0)
    pace.learn(STRANGER, [requests(10, 10, 0.0)], 3.0)
    assert wait(pace, 2.0) == 1.0
    pace.learn(enter(pace, 4.0), [requests(10, 8, 2.0)], 4.0)
    assert wait(pace, 4.0) == 0.0


def test_what_nobody_knew_of_teaches_too() -> None:
    """A call that was sent before its key was known tells what remains."""
    pace = unlimited()
    pace.learn(STRANGER, [requests(10, 1, 9.0)], 0.0)
    enter(pace, 0.0)
    assert wait(pace, 0.0) == 1.0


def test_a_full_limit_is_taken_for_a_minutes() -> None:
    """How fast it fills cannot be seen then."""
    pace = unlimited()
    pace.learn(enter(pace, 0.0), [requests(2, 2, 0.0)], 0.0)
    enter(pace, 0.0)
    enter(pace, 0.0)
    assert wait(pace, 0.0) == 30.0


def test_what_was_taught_fades() -> None:
    """What no answer confirms for five minutes holds nobody back, nor does anything for longer."""
    pace = unlimited()
    pace.learn(enter(pace, 0.0), [requests(1, 0, 86400.0, steady=False)], 0.0)
    assert wait(pace, 0.0) == 300.0
    assert wait(pace, 299.0) == 1.0
    enter(pace, 300.0)
    enter(pace, 300.0)


def test_tokens_count_by_kind() -> None:
    """Prompts' and answers' tokens meet their own limits; the tightest one is named."""
    pace = unlimited()
    assert not pace.counts_tokens
    told = [tokens(Count.INPUT, 1000, 500, 50.0), tokens(Count.OUTPUT, 1000, 100, 90.0)]
    pace.learn(enter(pace, 0.0), told, 0.0)
    assert pace.counts_tokens
    assert pace.enter(one_call(510, 50), 0.0) == Held(1.0, "the backend's limit on tokens of prompts")
    assert pace.enter(one_call(510, 150), 0.0) == Held(5.0, "the backend's limit on tokens of answers")
    enter(pace, 0.0, one_call(500, 100))


def test_a_call_larger_than_the_backends_limit_waits_for_all_of_it() -> None:
    """The backend will judge it: our measure of it is rough."""
    pace = unlimited()
    pace.learn(enter(pace, 0.0), [tokens(Count.TOKENS, 1000, 0, 10.0)], 0.0)
    assert wait(pace, 0.0, one_call(5000, 0)) == 10.0
    enter(pace, 10.0, one_call(5000, 0))
    assert wait(pace, 10.0, one_call(100, 0)) == 41.0


def test_what_was_not_sent_is_given_back() -> None:
    """To the picture as well."""
    pace = unlimited()
    pace.learn(enter(pace, 0.0), [requests(10, 1, 9.0)], 0.0)
    ticket = enter(pace, 0.0)
    assert wait(pace, 0.0) == 1.0
    pace.unsent(ticket, 0.0)
    assert wait(pace, 0.0) == 0.0


# Own limits ...


def test_calls_in_the_queue_are_waited_for() -> None:
    """Who comes later knows how long it will be; who leaves makes room."""
    pace = Pace([allowance("requests", Count.REQUESTS, 60, 0.01, 0.0)], 300.0)
    enter(pace, 0.0)
    assert [pace.queue(ONE, 0.0).seconds for _ in range(3)] == [1.0, 2.0, 3.0]
    pace.unqueue(ONE)
    assert pace.queue(ONE, 0.0).seconds == 3.0


def test_a_typical_answer_is_learned() -> None:
    """From what answers have cost; what the backend does not say changes nothing."""
    pace = unlimited()
    assert pace.answer == GUESSED_ANSWER
    for _ in range(60):
        pace.answered(STRANGER, Usage(completion_tokens=100), 0.0)
    assert pace.answer == pytest.approx(100, abs=1)
    pace.answered(STRANGER, Usage(), 0.0)
    assert pace.answer == pytest.approx(100, abs=1)


def test_it_is_idle_when_nothing_would_be_lost() -> None:
    """Neither a cool-down nor a bucket that is not full."""
    pace = Pace([allowance("requests", Count.REQUESTS, 60, 1.0, 0.0)], 300.0)
    assert pace.idle(0.0)
    enter(pace, 0.0)
    assert not pace.idle(0.0)
    assert pace.idle(1.0)
    pace.limited(5.0, 1.0)
    assert not pace.idle(15.0)
    assert pace.idle(16.0)  # ten seconds after the cool-down, for nobody waits for the pace


@attrs.define(eq=False)
class Call:
    """What the prediction knows of a call."""

    ticket: Ticket
    tokens: int


class PaceMachine(RuleBasedStateMachine):
    """6 requests at once and one a second; 512 tokens at once and 128 a second; cool-downs as asked."""

    calls = Bundle("calls")
    reached: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        own = [
            allowance("requests", Count.REQUESTS, 60, 0.1, 0.0),
            allowance("tokens", Count.TOKENS, 7680, 512 / 7680, 0.0),
        ]
        self.pace = Pace(own, 64.0)
        self.events: list[tuple[float, int, int]] = []
        self.until = 0.0

    def levels(self) -> tuple[float, float]:
        """Replayed from the beginning, each time."""
        at, some, many = 0.0, 6.0, 512.0
        for when, calls, amount in [*self.events, (self.now, 0, 0)]:
            some = min(6.0, min(6.0, some + (when - at)) - calls)
            many = min(512.0, min(512.0, many + 128 * (when - at)) - amount)
            at = when
        return some, many

    def expected(self, size: int) -> float:
        if self.now < self.until:
            return self.until - self.now
        some, many = self.levels()
        return max(0.0, 1 - some, (min(size, 512) - many) / 128)

    @rule(target=calls, prompt=st.sampled_from([0, 16, 1024]), answer=st.sampled_from([0, 64]))
    def ask(self, prompt: int, answer: int) -> object:
        seconds, cooling = self.expected(prompt + answer), self.now < self.until
        entered = self.pace.enter(one_call(prompt, answer), self.now)
        if isinstance(entered, Held):
            assert (entered.seconds, entered.cooling) == (seconds, cooling)
            self.reached[f"held by {entered.why}"] += 1
            return multiple()
        assert seconds == 0.0
        self.reached["entered"] += 1
        self.events.append((self.now, 1, prompt + answer))
        return Call(entered, prompt + answer)

    @rule(number=st.just(6))
    def ask_often(self, number: int) -> None:
        for _ in range(number):
            self.ask(0, 0)

    @rule(target=calls, used=st.sampled_from([32, 200, None]))
    def ask_and_hear(self, used: int | None) -> object:
        call = self.ask(16, 64)
        if isinstance(call, Call):
            self.hear(call, used)
        return multiple()

    @rule(call=consumes(calls), used=st.sampled_from([None, 0, 32, 200, 2048]))
    def answered(self, call: Call, used: int | None) -> None:
        self.hear(call, used)

    def hear(self, call: Call, used: int | None) -> None:
        self.pace.answered(call.ticket, Usage(total_tokens=used), self.now)
        if used is not None:
            self.reached["owed" if used > call.tokens else "given back"] += 1
            self.events.append((self.now, 0, used - call.tokens))

    @rule(call=consumes(calls))
    def refused(self, call: Call) -> None:
        self.pace.refused(call.ticket, self.now)
        self.events.append((self.now, 0, -call.tokens))

    @rule(asked=st.sampled_from([0.5, 3.0, 3600.0]))
    def limited(self, asked: float) -> None:
        self.pace.limited(asked, self.now)
        self.until = max(self.until, self.now + min(asked, 64.0))
        self.ask(0, 0)

    @rule(call=consumes(calls))
    def unsent(self, call: Call) -> None:
        self.pace.unsent(call.ticket, self.now)
        self.events.append((self.now, -1, -call.tokens))

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 8.0, 64.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(size=st.sampled_from([0, 100, 600]))
    def wait_as_told(self, size: int) -> None:
        """After the wait that it names, a call enters."""
        held = self.pace.enter(one_call(size), self.now)
        if isinstance(held, Held):
            self.now += held.seconds
            held = self.pace.enter(one_call(size), self.now)
        if isinstance(held, Held):  # the cool-down was over, a bucket was not full
            assert not held.cooling
            self.now += held.seconds
            held = self.pace.enter(one_call(size), self.now)
        assert isinstance(held, Ticket)
        self.events.append((self.now, 1, size))


def test_own_limits_do_what_a_replay_predicts() -> None:
    """On walks that meet every reason to wait: the same calls enter, and the others wait as long as predicted."""
    PaceMachine.reached.clear()
    run_state_machine_as_test(
        PaceMachine,
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    reasons = [f"held by {reason}" for reason in ("requests=60", "tokens=7680", "the cool-down")]
    for place in ("entered", "owed", "given back", *reasons):
        assert PaceMachine.reached[place], PaceMachine.reached
