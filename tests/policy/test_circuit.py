"""The circuit's state machine, step by step; `test_circuit_model` walks it at random."""

from __future__ import annotations

import threading
from datetime import timedelta
from itertools import pairwise

import attrs
import pytest

from resilient_llm.errors import CircuitOpenError, ModelUnavailableError
from resilient_llm.policy.circuit import Circuit, CircuitOptions
from resilient_llm.policy.circuit_states import TRANSITIONS, Lease, State, Transition, Trigger
from resilient_llm.policy.outcomes import Verdict

MIDDLE = 0.5
"""A draw that leaves times as they are."""


class Bench:
    """A circuit with a clock and short verbs."""

    def __init__(self, draw: float = MIDDLE, **options: object) -> None:
        self.draw = draw
        self.now = 1000.0
        self.moves: list[Transition] = []
        self.circuit = Circuit(
            CircuitOptions(**options), name="m", draw=lambda: self.draw, on_transition=self._moved
        )

    def _moved(self, circuit: Circuit, transition: Transition) -> None:
        assert not circuit._lock._is_owned(), "told under the lock"
        self.moves.append(transition)

    @property
    def state(self) -> State:
        return self.circuit.state

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def enter(self, lease: float | None = None) -> Lease:
        return self.circuit.enter(self.now, lease)

    def settle(self, lease: Lease, verdict: Verdict, error: BaseException | None = None) -> None:
        lease.settle(verdict, self.now, error)

    def call(self, *verdicts: Verdict) -> None:
        for verdict in verdicts:
            self.settle(self.enter(), verdict)

    def fail(self, times: int = 1) -> None:
        self.call(*[Verdict.FAILURE] * times)

    def succeed(self, times: int = 1) -> None:
        self.call(*[Verdict.SUCCESS] * times)

    def reject(self) -> CircuitOpenError:
        with pytest.raises(CircuitOpenError) as peeked:
            self.circuit.peek(self.now)
        with pytest.raises(CircuitOpenError) as caught:
            self.enter()
        assert str(peeked.value) == str(caught.value)
        return caught.value

    def open(self) -> None:
        self.fail(self.circuit.fail_max)
        assert self.state is State.OPEN

    def half_open(self) -> Lease:
        self.open()
        self.wait(30)
        probe = self.enter()
        assert self.state is State.HALF_OPEN
        return probe


# Tripping ...


def test_five_consecutive_failures_open_the_circuit():
    """Four do not, the fifth does."""
    bench = Bench()
    bench.fail(4)
    assert bench.state is State.CLOSED
    assert bench.circuit.fail_counter == 4
    bench.fail()
    assert bench.state is State.OPEN
    assert bench.circuit.fail_counter == 5


def test_a_success_ends_a_run_of_failures():
    """Four failures, a success and four failures are no five in a row."""
    bench = Bench()
    bench.fail(4)
    bench.succeed()
    assert bench.circuit.fail_counter == 0
    bench.fail(4)
    assert bench.state is State.CLOSED


def test_neutral_results_neither_break_nor_feed_a_run_of_failures():
    """Any number of neutral results between failures changes nothing."""
    bench = Bench()
    bench.call(*[Verdict.NEUTRAL] * 50)
    assert bench.circuit.fail_counter == 0
    for _ in range(4):
        bench.fail()
        bench.call(Verdict.NEUTRAL, Verdict.NEUTRAL)
    assert bench.circuit.fail_counter == 4
    assert bench.state is State.CLOSED
    bench.fail()
    assert bench.state is State.OPEN


def test_half_of_ten_calls_failing_opens_the_circuit():
    """The ratio counts from ten calls on; nine are too few."""
    bench = Bench()
    for _ in range(4):
        bench.succeed()
        bench.fail()
    bench.fail()
    assert bench.state is State.CLOSED
    bench.succeed()
    assert bench.state is State.CLOSED, "a success opens nothing"
    bench.fail()
    assert bench.state is State.OPEN
    assert "6 of 11 calls failed within 120 s" in str(bench.reject())


def test_exactly_the_ratio_is_enough():
    """Five of ten calls are 50 %."""
    bench = Bench()
    bench.succeed(5)
    bench.fail(4)
    assert bench.state is State.CLOSED
    bench.fail()
    assert bench.state is State.OPEN


def test_below_the_ratio_the_circuit_stays_closed():
    """Two failures in every five calls never open it."""
    bench = Bench()
    for _ in range(40):
        bench.call(Verdict.SUCCESS, Verdict.FAILURE, Verdict.SUCCESS, Verdict.FAILURE, Verdict.SUCCESS)
    assert bench.state is State.CLOSED


def test_neutral_results_are_no_calls_to_the_ratio():
    """Nine results and a hundred neutral ones are nine."""
    bench = Bench()
    bench.succeed(4)
    bench.call(*[Verdict.NEUTRAL] * 100)
    bench.fail(4)
    bench.succeed()
    bench.call(*[Verdict.NEUTRAL] * 100)
    assert bench.state is State.CLOSED
    bench.fail()
    assert bench.state is State.OPEN


def test_failures_older_than_the_window_do_not_count_to_the_ratio():
    """Slow trickles of failures below five in a row leave the circuit closed."""
    bench = Bench()
    for _ in range(30):
        bench.succeed()
        bench.fail()
        bench.wait(30)
    assert bench.state is State.CLOSED


# Rejecting ...


def test_an_open_circuit_rejects_and_says_for_how_long():
    """`retry_after` counts down to the instant at which a probe may go."""
    bench = Bench()
    bench.open()
    assert bench.reject().retry_after == pytest.approx(30)
    bench.wait(29)
    error = bench.reject()
    assert error.retry_after == pytest.approx(1)
    assert error.time_remaining == timedelta(seconds=1)
    assert "circuit 'm' is open: 5 failures in a row" in str(error)


def test_a_rejection_carries_the_failure_that_opened_the_circuit():
    """`__cause__` is the very exception, and a failed probe's replaces it."""
    bench = Bench()
    bench.fail(4)
    first, second = ModelUnavailableError("no connection"), ModelUnavailableError("still none")
    bench.settle(bench.enter(), Verdict.FAILURE, first)
    assert bench.reject().__cause__ is first
    bench.wait(30)
    bench.settle(bench.enter(), Verdict.FAILURE, second)
    assert bench.reject().__cause__ is second


def test_a_closed_circuit_keeps_no_error():
    """After the probe succeeded the failure and its frames are let go."""
    bench = Bench()
    bench.fail(4)
    bench.settle(bench.enter(), Verdict.FAILURE, ModelUnavailableError("no connection"))
    bench.wait(30)
    bench.succeed()
    assert bench.circuit._error is None


# Half-open ...


def test_after_the_timer_exactly_one_call_may_go():
    """The second caller is rejected while the probe is under way, with a hint of at most the time open."""
    bench = Bench()
    bench.half_open()
    error = bench.reject()
    assert error.retry_after == pytest.approx(30)
    assert "half_open: a probe is under way" in str(error)


def test_peek_claims_nothing():
    """However often one looks, the probe is still to be had."""
    bench = Bench()
    bench.open()
    bench.wait(30)
    for _ in range(3):
        bench.circuit.peek(bench.now)
    assert bench.state is State.OPEN
    assert bench.enter().probe


def test_a_probe_that_succeeds_closes_the_circuit_with_a_clean_sheet():
    """Neither the old run nor the old window counts any more."""
    bench = Bench()
    bench.settle(bench.half_open(), Verdict.SUCCESS)
    assert bench.state is State.CLOSED
    assert bench.circuit.fail_counter == 0
    bench.fail(4)
    bench.succeed(4)
    assert bench.state is State.CLOSED


def test_a_probe_that_fails_opens_for_twice_as_long_up_to_the_maximum():
    """30, 60, 120, 240, 300, 300 seconds."""
    bench = Bench()
    bench.open()
    seen = []
    for _ in range(6):
        seen.append(bench.reject().retry_after)
        bench.wait(seen[-1])
        bench.fail()
    assert seen == pytest.approx([30, 60, 120, 240, 300, 300])


def test_a_failed_probe_is_one_more_failure_in_a_row():
    """The counter that listeners read goes on while the circuit is open."""
    bench = Bench()
    bench.settle(bench.half_open(), Verdict.FAILURE)
    assert bench.circuit.fail_counter == 6


def test_a_success_resets_the_doubling():
    """The next opening lasts as long as the first."""
    bench = Bench()
    bench.settle(bench.half_open(), Verdict.FAILURE)
    bench.wait(60)
    bench.succeed()
    bench.open()
    assert bench.reject().retry_after == pytest.approx(30)


def test_a_neutral_probe_gives_its_slot_to_the_next_call():
    """The circuit stays half-open; one more probe goes, and only one."""
    bench = Bench()
    bench.settle(bench.half_open(), Verdict.NEUTRAL)
    assert bench.state is State.HALF_OPEN
    bench.circuit.peek(bench.now)
    second = bench.enter()
    assert second.probe
    bench.reject()
    bench.settle(second, Verdict.SUCCESS)
    assert bench.state is State.CLOSED


def test_a_neutral_probe_does_not_double_the_time_open():
    """Only failed probes do."""
    bench = Bench()
    probe = bench.half_open()
    for _ in range(5):
        bench.settle(probe, Verdict.NEUTRAL)
        probe = bench.enter()
    bench.settle(probe, Verdict.FAILURE)
    assert bench.reject().retry_after == pytest.approx(60)


def test_a_probe_that_never_reports_is_replaced_when_its_lease_expires():
    """Until then nobody passes; then one does, and the first one's result is late."""
    bench = Bench()
    lost = bench.half_open()
    bench.wait(604.9)
    assert bench.reject().retry_after == pytest.approx(0.1)
    bench.wait(0.1)
    second = bench.enter()
    assert second.probe
    bench.reject()
    bench.settle(lost, Verdict.SUCCESS)
    assert bench.state is State.HALF_OPEN
    bench.settle(second, Verdict.FAILURE)
    assert bench.state is State.OPEN


def test_a_probe_may_report_after_its_lease_if_nobody_replaced_it():
    """An expired lease frees the slot, it does not invalidate the result."""
    bench = Bench()
    probe = bench.half_open()
    bench.wait(10_000)
    bench.settle(probe, Verdict.SUCCESS)
    assert bench.state is State.CLOSED


def test_a_call_may_bring_its_own_lease():
    """`enter(now, lease)` wins over the option."""
    bench = Bench()
    bench.open()
    bench.wait(30)
    bench.enter(lease=7.0)
    assert bench.reject().retry_after == pytest.approx(7)
    bench.wait(7)
    assert bench.enter().probe


# Late results ...


@pytest.mark.parametrize("verdict", list(Verdict))
def test_results_of_calls_begun_before_the_opening_change_nothing(verdict: Verdict):
    """They neither close the open circuit, nor prolong it, nor settle its probe, nor count after it closed."""
    bench = Bench()
    late = [bench.enter() for _ in range(30)]
    bench.open()
    for lease in late[:10]:
        bench.settle(lease, verdict)
    assert bench.reject().retry_after == pytest.approx(30)
    assert bench.circuit.fail_counter == 5
    bench.wait(30)
    probe = bench.enter()
    for lease in late[10:20]:
        bench.settle(lease, verdict)
    assert bench.state is State.HALF_OPEN
    bench.settle(probe, Verdict.SUCCESS)
    bench.fail(2)
    for lease in late[20:]:
        bench.settle(lease, verdict)
    assert bench.state is State.CLOSED
    assert bench.circuit.fail_counter == 2


def test_a_lease_settles_once():
    """The second report is not heard, whatever it says."""
    bench = Bench()
    lease = bench.enter()
    for _ in range(20):
        bench.settle(lease, Verdict.FAILURE)
    assert bench.circuit.fail_counter == 1
    bench.settle(lease, Verdict.SUCCESS)
    assert bench.circuit.fail_counter == 1
    assert bench.circuit.spotless(bench.now + 500)


# Streams ...


def test_a_confirmed_probe_closes_the_circuit_before_its_end():
    """Others pass at once; the probe's own success is then an ordinary one."""
    bench = Bench()
    probe = bench.half_open()
    probe.confirm()
    assert (bench.state, bench.moves[-1].trigger) == (State.CLOSED, Trigger.PROBE_SUCCEEDED)
    assert not probe.probe
    bench.enter()
    bench.settle(probe, Verdict.SUCCESS)
    assert bench.state is State.CLOSED


def test_a_confirmed_probe_that_breaks_later_is_one_failure_of_the_closed_circuit():
    """It feeds the run like any other call."""
    bench = Bench()
    probe = bench.half_open()
    probe.confirm()
    bench.fail(4)
    bench.settle(probe, Verdict.FAILURE)
    assert bench.state is State.OPEN
    assert bench.reject().retry_after == pytest.approx(30)


def test_a_confirmed_probe_is_late_once_the_circuit_has_moved_on():
    """Closed, opened again by others: the old stream's end says nothing about the new state."""
    bench = Bench()
    probe = bench.half_open()
    probe.confirm()
    bench.open()
    bench.wait(30)
    bench.enter()
    bench.settle(probe, Verdict.SUCCESS)
    assert bench.state is State.HALF_OPEN


def test_confirming_anything_but_the_current_probe_changes_nothing():
    """An ordinary call, a settled probe and a replaced one close nothing."""
    bench = Bench()
    ordinary = bench.enter()
    replaced = bench.half_open()
    ordinary.confirm()
    assert bench.state is State.HALF_OPEN
    bench.wait(605)
    current = bench.enter()
    replaced.confirm()
    assert bench.state is State.HALF_OPEN
    bench.settle(current, Verdict.NEUTRAL)
    current.confirm()
    assert bench.state is State.HALF_OPEN


# Jitter ...


@pytest.mark.parametrize(("draw", "seconds"), [(0.0, 27.0), (0.25, 28.5), (0.5, 30.0), (0.999999, 33.0)])
def test_the_time_open_varies_by_a_tenth(draw: float, seconds: float):
    """The draw moves it over 27 to 33 seconds."""
    bench = Bench(draw)
    bench.open()
    assert bench.reject().retry_after == pytest.approx(seconds, rel=1e-5)


@pytest.mark.parametrize(("draw", "seconds"), [(0.0, 270.0), (0.5, 300.0), (0.75, 285.0), (0.999999, 270.0)])
def test_the_longest_time_open_is_spread_below_the_maximum(draw: float, seconds: float):
    """What jitter would put above it is mirrored, so that many circuits do not end together."""
    bench = Bench(draw, timeout_duration=300.0)
    bench.open()
    assert bench.reject().retry_after == pytest.approx(seconds, rel=1e-5)


# By hand ...


def test_a_circuit_opened_by_hand_tests_itself_after_the_timer():
    """It is open as if it had tripped, without a cause."""
    bench = Bench()
    bench.circuit.force_open(bench.now)
    error = bench.reject()
    assert error.retry_after == pytest.approx(30)
    assert error.__cause__ is None
    assert "opened by hand" in str(error)
    bench.wait(30)
    bench.succeed()
    assert bench.state is State.CLOSED


def test_opening_by_hand_starts_from_the_shortest_time():
    """Whatever the doubling had come to."""
    bench = Bench()
    bench.settle(bench.half_open(), Verdict.FAILURE)
    bench.circuit.force_open(bench.now)
    assert bench.reject().retry_after == pytest.approx(30)


def test_an_isolated_circuit_lets_nothing_through_until_reset():
    """Not after any time; rejections still say when to ask again."""
    bench = Bench()
    bench.circuit.isolate()
    for _ in range(3):
        bench.wait(1e6)
        error = bench.reject()
        assert error.retry_after == pytest.approx(30)
        assert "isolated by hand" in str(error)
    bench.circuit.reset()
    bench.succeed()
    assert bench.state is State.CLOSED


def test_a_circuit_forced_closed_lets_everything_through_until_reset():
    """No number of failures opens it, and none of them is remembered afterwards."""
    bench = Bench()
    bench.open()
    bench.circuit.force_closed()
    bench.fail(100)
    assert bench.state is State.FORCED_CLOSED
    begun = bench.enter()
    bench.circuit.reset()
    bench.settle(begun, Verdict.FAILURE)
    assert bench.state is State.CLOSED
    assert bench.circuit.fail_counter == 0
    bench.fail(4)
    assert bench.state is State.CLOSED


def test_a_probe_under_way_when_the_circuit_is_moved_by_hand_is_late():
    """Its result settles nothing any more."""
    bench = Bench()
    probe = bench.half_open()
    bench.circuit.isolate()
    bench.settle(probe, Verdict.SUCCESS)
    assert bench.state is State.ISOLATED


def test_reset_forgets_the_doubling_and_the_cause():
    """The next opening starts afresh."""
    bench = Bench()
    bench.settle(bench.half_open(), Verdict.FAILURE, ModelUnavailableError("gone"))
    bench.circuit.reset()
    bench.open()
    assert bench.reject().retry_after == pytest.approx(30)
    assert bench.reject().__cause__ is None


# Telling ...


def test_transitions_are_told_in_order_with_their_generation_and_error():
    """One for each step, outside the lock, and the failure that caused an opening with it."""
    bench = Bench()
    error = ModelUnavailableError("no connection")
    bench.fail(4)
    bench.settle(bench.enter(), Verdict.FAILURE, error)
    bench.wait(30)
    bench.call(Verdict.NEUTRAL, Verdict.SUCCESS)
    assert bench.moves == [
        Transition(State.CLOSED, State.OPEN, Trigger.TRIPPED, 1, error),
        Transition(State.OPEN, State.HALF_OPEN, Trigger.PROBE_SENT, 2),
        Transition(State.HALF_OPEN, State.HALF_OPEN, Trigger.PROBE_RETURNED, 3),
        Transition(State.HALF_OPEN, State.HALF_OPEN, Trigger.PROBE_SENT, 4),
        Transition(State.HALF_OPEN, State.CLOSED, Trigger.PROBE_SUCCEEDED, 5),
    ]
    assert bench.circuit.generation == 5


def test_every_way_by_hand_is_told():
    """From any state to any state that can be set by hand, outside the lock."""
    bench = Bench()
    ways = (
        lambda: bench.circuit.force_open(bench.now),
        bench.circuit.isolate,
        bench.circuit.force_closed,
        bench.circuit.reset,
    )
    for first in ways:
        for second in ways:
            first()
            second()
    assert all(a.new is b.old and a.generation + 1 == b.generation for a, b in pairwise(bench.moves))
    assert len(bench.moves) == 2 * len(ways) ** 2


def test_the_table_has_a_way_out_of_every_state_and_every_trigger_in_it():
    """No state is a trap, no trigger is dead."""
    assert {old for (old, _), new in TRANSITIONS.items() if new is not old} == set(State)
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)


# Threads ...


def test_many_threads_at_a_half_open_circuit_get_one_probe():
    """Whoever comes first passes; the others are rejected."""
    bench = Bench()
    bench.open()
    bench.wait(30)
    barrier = threading.Barrier(16)
    passed: list[Lease] = []

    def caller() -> None:
        barrier.wait()
        for _ in range(50):
            try:
                passed.append(bench.enter())
            except CircuitOpenError:
                continue

    threads = [threading.Thread(target=caller) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 1


def test_no_result_is_lost_between_threads():
    """The run of failures counts every one of them."""
    bench = Bench(fail_max=10**9, minimum_calls=10**9)
    threads = [threading.Thread(target=bench.fail, args=(500,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.circuit.fail_counter == 4000
    assert bench.circuit._in_flight == 0


# Forgetting ...


def test_a_circuit_is_spotless_when_closed_idle_and_without_recent_failures():
    """A call under way, a failure in the window or another state make it worth keeping."""
    bench = Bench()
    assert bench.circuit.spotless(bench.now)
    lease = bench.enter()
    assert not bench.circuit.spotless(bench.now)
    bench.settle(lease, Verdict.FAILURE)
    assert not bench.circuit.spotless(bench.now)
    assert bench.circuit.spotless(bench.now + 121)
    bench.circuit.isolate()
    assert not bench.circuit.spotless(bench.now + 121)


# Options ...


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("fail_max", 0, "fail_max must be above 0, not 0"),
        ("fail_max", 2.5, "fail_max must be a whole number, not 2.5"),
        ("timeout_duration", 0, "timeout_duration must be above 0, not 0"),
        ("timeout_duration", float("inf"), "timeout_duration must be finite, not inf"),
        (
            "timeout_duration",
            301.0,
            r"must be at least timeout_duration \(301.0\), not 300.0",
        ),
        ("failure_ratio", 0, "failure_ratio must be above 0 and at most 1, not 0"),
        ("failure_ratio", 1.1, "failure_ratio must be above 0 and at most 1, not 1.1"),
        ("window", -1, "window must be above 0, not -1"),
        ("minimum_calls", 0, "minimum_calls must be above 0, not 0"),
        ("max_timeout_duration", 29.9, "must be at least timeout_duration"),
        ("jitter", 1.0, "jitter must be below 1, not 1.0"),
        ("jitter", -0.1, "jitter must be 0 or more, not -0.1"),
        ("lease", 0, "lease must be above 0, not 0"),
    ],
)
def test_options_that_cannot_work_are_rejected(option: str, value: float, message: str):
    """The message names the option, the value and what would do."""
    with pytest.raises((ValueError, TypeError), match=message):
        CircuitOptions(**{option: value})


def test_the_time_open_may_be_a_timedelta():
    """As aiobreaker has it."""
    assert CircuitOptions(timeout_duration=timedelta(minutes=1)).timeout_duration == 60.0


def test_the_defaults_are_those_of_the_documentation():
    """Five in a row or half of ten within two minutes; open for 30 to 300 seconds."""
    assert attrs.asdict(CircuitOptions()) == {
        "fail_max": 5,
        "timeout_duration": 30.0,
        "failure_ratio": 0.5,
        "window": 120.0,
        "minimum_calls": 10,
        "max_timeout_duration": 300.0,
        "jitter": 0.1,
        "lease": 605.0,
    }


def test_the_repr_shows_name_and_state():
    """What one wants to see in a debugger."""
    bench = Bench()
    bench.fail(2)
    assert repr(bench.circuit) == "<Circuit 'm' closed, 2 failures in a row>"


def test_a_lease_may_be_settled_in_the_midst_of_another_change() -> None:
    """A response that the garbage collector finds settles wherever its thread is, in the circuit's own code, too."""
    bench = Bench()
    lease = bench.enter()

    def collected_within() -> None:
        with bench.circuit._lock:
            bench.settle(lease, Verdict.NEUTRAL)

    thread = threading.Thread(target=collected_within, daemon=True)
    thread.start()
    thread.join(5.0)
    assert not thread.is_alive()
    assert lease.settled
