"""The circuit against an independent prediction, walked at random.

The prediction keeps a plain list of results and recounts it each time; times are chosen so that all arithmetic
is exact, and equality at the edges means equality.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, ClassVar

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from resilient_llm.errors import CircuitOpenError
from resilient_llm.policy.circuit import Circuit, CircuitOptions
from resilient_llm.policy.outcomes import Verdict

if TYPE_CHECKING:
    from resilient_llm.policy.circuit_states import Lease, Transition

OPTIONS = CircuitOptions(
    fail_max=3,
    timeout_duration=8.0,
    failure_ratio=0.5,
    window=24.0,  # 12 buckets of 2 s
    minimum_calls=6,
    max_timeout_duration=32.0,
    jitter=0.5,
    lease=20.0,
)
DRAWS = st.sampled_from([0.0, 0.5, 0.75])
EARLY = st.sampled_from([False, False, False, True])
VERDICTS = st.sampled_from(list(Verdict))


@attrs.define(eq=False)
class Ticket:
    """What the prediction knows of a lease."""

    lease: Lease
    epoch: int
    probe: bool
    expires: float
    done: bool = False


@attrs.define
class Prediction:
    """How the specification reads, without a table, generations as epochs."""

    phase: str = "closed"
    epoch: int = 0
    results: list[tuple[float, bool]] = attrs.field(factory=list)
    run: int = 0
    opened_until: float = 0.0
    failed_probes: int = 0
    probe: Ticket | None = None

    def admits(self, now: float) -> bool:
        match self.phase:
            case "closed" | "forced_closed":
                return True
            case "open":
                return now >= self.opened_until
            case "half_open":
                return self.probe is None or now >= self.probe.expires
            case _:
                return False

    def admitted(self, lease: Lease, now: float, seconds: float | None) -> Ticket:
        tests = self.phase in {"open", "half_open"}
        if tests:
            self.phase = "half_open"
            self.epoch += 1
        expires = now + (OPTIONS.lease if seconds is None else seconds)
        ticket = Ticket(lease, self.epoch, probe=tests, expires=expires)
        if tests:
            self.probe = ticket
        return ticket

    def settled(self, ticket: Ticket, verdict: Verdict, now: float, draw: float) -> None:
        if ticket.done:
            return
        ticket.done = True
        if ticket.epoch != self.epoch:
            return
        if ticket.probe:
            self._probe_ended(verdict, now, draw)
        elif verdict is not Verdict.NEUTRAL:
            failed = verdict is Verdict.FAILURE
            self.results.append((now, failed))
            self.run = self.run + 1 if failed else 0
            if (
                failed
                and self.phase == "closed"
                and (self.run >= OPTIONS.fail_max or self._mostly_failing(now))
            ):
                self.opens(now, draw)

    def _probe_ended(self, verdict: Verdict, now: float, draw: float) -> None:
        self.probe = None
        self.epoch += 1
        if verdict is Verdict.SUCCESS:
            self.closes("closed")
        elif verdict is Verdict.FAILURE:
            self.run += 1
            self.failed_probes += 1
            self.opens(now, draw)

    def _mostly_failing(self, now: float) -> bool:
        recent = [failed for at, failed in self.results if at // 2 > now // 2 - 12]
        return len(recent) >= OPTIONS.minimum_calls and recent.count(True) / len(recent) >= 0.5

    def opens(self, now: float, draw: float) -> None:
        self.phase = "open"
        self.epoch += 1
        self.probe = None
        seconds = min(8.0 * 2**self.failed_probes, 32.0) * (0.5 + draw)
        self.opened_until = now + (seconds if seconds <= 32 else 64 - seconds)

    def closes(self, phase: str) -> None:
        self.phase = phase
        self.epoch += 1
        self.results.clear()
        self.run = self.failed_probes = 0
        self.probe = None


class CircuitMachine(RuleBasedStateMachine):
    """Rules are what callers, clocks and operators may do; invariants what must hold whatever they do."""

    tickets = Bundle("tickets")
    reached: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.now = 4096.0
        self.draw = 0.5
        self.moves: list[Transition] = []
        self.circuit = Circuit(
            OPTIONS, draw=lambda: self.draw, on_transition=lambda _, move: self.moves.append(move)
        )
        self.model = Prediction()
        self.issued: list[Ticket] = []

    def enter(self, seconds: float | None = None) -> Ticket | None:
        expected = self.model.admits(self.now)
        try:
            self.circuit.peek(self.now)
            lease = self.circuit.enter(self.now, seconds)
        except CircuitOpenError as error:
            self.rejected(error, expected=expected)
            return None
        assert expected, f"admitted in {self.model}"
        ticket = self.model.admitted(lease, self.now, seconds)
        assert lease.probe == ticket.probe
        self.issued.append(ticket)
        return ticket

    def rejected(self, error: CircuitOpenError, *, expected: bool) -> None:
        assert not expected, f"rejected in {self.model}"
        assert error.retry_after is not None
        assert error.retry_after > 0
        if self.model.phase == "open":
            assert error.retry_after == self.model.opened_until - self.now
        self.reached[f"rejected {self.model.phase}"] += 1

    def settle(self, ticket: Ticket, verdict: Verdict, draw: float) -> None:
        self.draw = draw
        if ticket.done:
            self.reached["settled twice"] += 1
        elif ticket.epoch != self.model.epoch:
            self.reached["late"] += 1
        elif ticket.probe:
            self.reached[f"probe {verdict}"] += 1
        ticket.lease.settle(verdict, self.now, None)
        self.model.settled(ticket, verdict, self.now, draw)

    @rule(target=tickets, seconds=st.sampled_from([None, None, 5.0]))
    def ask(self, seconds: float | None) -> object:
        ticket = self.enter(seconds)
        return multiple() if ticket is None else ticket

    @rule(ticket=tickets, verdict=VERDICTS, draw=DRAWS)
    def report(self, ticket: Ticket, verdict: Verdict, draw: float) -> None:
        self.settle(ticket, verdict, draw)

    @rule(ticket=consumes(tickets))
    def leave(self, ticket: Ticket) -> None:
        self.settle(ticket, Verdict.NEUTRAL, 0.5)

    @rule(ticket=tickets)
    def confirm(self, ticket: Ticket) -> None:
        ticket.lease.confirm()
        if not ticket.done and ticket.probe and ticket.epoch == self.model.epoch:
            self.reached["confirmed"] += 1
            self.model.closes("closed")
            ticket.probe, ticket.epoch = False, self.model.epoch

    @rule(verdicts=st.lists(VERDICTS, min_size=1, max_size=8), draw=DRAWS)
    def some_calls(self, verdicts: list[Verdict], draw: float) -> None:
        for verdict in verdicts:
            ticket = self.enter()
            if ticket is not None:
                self.settle(ticket, verdict, draw)

    @precondition(lambda self: self.model.phase == "closed")
    @rule(draw=DRAWS)
    def outage(self, draw: float) -> None:
        for _ in range(OPTIONS.fail_max):
            ticket = self.enter()
            if ticket is not None:
                self.settle(ticket, Verdict.FAILURE, draw)

    @precondition(lambda self: self.model.phase == "open")
    @rule(target=tickets, early=EARLY)
    def wait_for_the_timer(self, early: bool) -> object:
        self.now = max(self.now, self.model.opened_until - (0.25 if early else 0.0))
        ticket = self.enter()
        return multiple() if ticket is None else ticket

    @precondition(lambda self: self.model.probe is not None)
    @rule(target=tickets, early=EARLY)
    def wait_for_the_lease(self, early: bool) -> object:
        assert self.model.probe is not None
        self.now = max(self.now, self.model.probe.expires - (0.25 if early else 0.0))
        self.reached["probe replaced"] += self.model.admits(self.now)
        ticket = self.enter()
        return multiple() if ticket is None else ticket

    @precondition(lambda self: self.model.probe is not None)
    @rule(verdict=VERDICTS, draw=DRAWS)
    def probe_reports(self, verdict: Verdict, draw: float) -> None:
        assert self.model.probe is not None
        self.settle(self.model.probe, verdict, draw)

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.0, 7.75, 24.0, 4096.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.model.phase in {"isolated", "forced_closed"} or self.now % 1 == 0.25)
    @rule(hand=st.sampled_from(["open", "isolated", "forced_closed", "reset", "reset", "reset"]), draw=DRAWS)
    def by_hand(self, hand: str, draw: float) -> None:
        self.draw = draw
        self.reached[f"by hand {hand}"] += 1
        match hand:
            case "open":
                self.circuit.force_open(self.now)
                self.model.failed_probes = 0
                self.model.opens(self.now, draw)
            case "isolated":
                self.circuit.isolate()
                self.model.phase, self.model.probe = "isolated", None
                self.model.epoch += 1
            case "forced_closed":
                self.circuit.force_closed()
                self.model.closes("forced_closed")
            case _:
                self.circuit.reset()
                self.model.closes("closed")

    @invariant()
    def the_prediction_holds(self) -> None:
        assert self.circuit.state == self.model.phase
        assert self.circuit.fail_counter == self.model.run
        self.reached[self.model.phase] += 1

    @invariant()
    def one_probe_at_most(self) -> None:
        current = [t for t in self.issued if t.lease.generation == self.circuit.generation and t.lease.probe]
        assert sum(not ticket.lease.settled for ticket in current) <= 1

    @invariant()
    def generations_count_up(self) -> None:
        assert [move.generation for move in self.moves] == list(range(1, len(self.moves) + 1))
        assert self.circuit.generation == len(self.moves)

    @invariant()
    def nothing_leaks(self) -> None:
        assert self.circuit._in_flight == sum(not ticket.done for ticket in self.issued)


def test_the_circuit_does_what_the_specification_predicts():
    """On walks that see every state and kind of result: same admissions, states, counters and waits."""
    CircuitMachine.reached.clear()
    run_state_machine_as_test(
        CircuitMachine,
        settings=settings(
            max_examples=200,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    for place in (
        *("closed", "open", "half_open", "isolated", "forced_closed"),
        *("rejected open", "rejected half_open", "rejected isolated"),
        *("probe success", "probe failure", "probe neutral", "probe replaced"),
        *("late", "settled twice", "confirmed"),
    ):
        # few: what hypothesis draws depends on what else is imported
        assert CircuitMachine.reached[place] >= 5, f"{place}: {CircuitMachine.reached}"
