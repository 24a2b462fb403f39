"""A circuit that takes over what others have found out."""

from __future__ import annotations

import pytest

from resilient_llm.policy.circuit_options import CircuitOptions
from resilient_llm.policy.circuit_states import State, Trigger
from resilient_llm.policy.fleet import News
from resilient_llm.policy.shared_circuit import SharedCircuit, Standing

OPTIONS = CircuitOptions(timeout_duration=10.0, max_timeout_duration=40.0, jitter=0.0)


@pytest.fixture
def told() -> list[Trigger]:
    return []


@pytest.fixture
def circuit(told) -> SharedCircuit:
    return SharedCircuit(
        OPTIONS, name="m", draw=lambda: 0.5, on_transition=lambda _, step: told.append(step.trigger)
    )


def news(word: str, epoch: int, value: float = 5.0, duration: float = 20.0) -> News:
    return News("circuit|s|m", word, value, epoch, duration, "5 failures")


def test_what_opened_elsewhere_is_open_here(circuit, told) -> None:
    """For as long as it still is there; then the next call would be the probe."""
    assert not circuit.due(100.0)
    circuit.told(news("open", 1), 100.0)
    assert (circuit.state, told) == (State.OPEN, [Trigger.TOLD_OPEN])
    assert [circuit.due(now) for now in (104.9, 105.0)] == [False, True]
    assert circuit.standing(102.0) == Standing(3.0, 20.0, "5 failures")
    assert circuit.standing(107.0).left == 0.0


def test_what_closed_elsewhere_is_closed_here(circuit, told) -> None:
    """Nobody is told twice."""
    circuit.told(news("open", 1), 100.0)
    circuit.told(news("closed", 2), 101.0)
    circuit.told(news("closed", 3), 102.0)
    assert (circuit.state, told) == (State.CLOSED, [Trigger.TOLD_OPEN, Trigger.TOLD_CLOSED])


def test_an_open_circuit_takes_over_the_newest_time_without_a_step(circuit, told) -> None:
    """And opens for no less than its own first time."""
    circuit.told(news("open", 1), 100.0)
    circuit.told(news("open", 2, value=30.0, duration=3.0), 101.0)
    assert circuit.standing(101.0) == Standing(30.0, 10.0, "5 failures")
    assert told == [Trigger.TOLD_OPEN]


def test_a_probe_elsewhere_looks_like_an_open_circuit(circuit) -> None:
    """Until its lease ends, and it says so."""
    circuit.told(news("held", 1), 100.0)
    assert (circuit.state, circuit.standing(100.0)) == (
        State.OPEN,
        Standing(5.0, 20.0, "a probe is under way"),
    )


def test_a_half_open_circuit_is_due_when_its_lease_ends(circuit) -> None:
    """Then another probe may go."""
    circuit.told(news("open", 1), 100.0)
    circuit.enter(105.0, lease=2.0)
    assert [circuit.due(now) for now in (106.9, 107.0)] == [False, True]


@pytest.mark.parametrize("word", ["none", "granted"])
def test_other_words_change_nothing(circuit, told, word) -> None:
    """They say nothing of the circuit."""
    circuit.told(news(word, 1), 100.0)
    assert (circuit.state, told) == (State.CLOSED, [])


def test_older_news_change_nothing(circuit) -> None:
    """Those of the same change do, and those of none where nothing newer is known."""
    circuit.told(news("open", 0), 100.0)
    assert circuit.state is State.OPEN
    circuit.told(news("closed", 2), 101.0)
    circuit.told(news("open", 1), 102.0)
    assert circuit.state is State.CLOSED
    circuit.told(news("open", 2), 102.0)
    assert circuit.state is State.OPEN


def test_news_of_its_own_claim_change_nothing(circuit) -> None:
    """Nor those before it; the first change after it does."""
    circuit.granted(7)
    for epoch in (6, 7):
        circuit.told(news("held", epoch), 100.0)
    assert (circuit.claim, circuit.state) == (7, State.CLOSED)
    circuit.told(news("open", 8), 100.0)
    assert circuit.state is State.OPEN


def test_a_new_circuit_has_claimed_nothing(circuit) -> None:
    """The news of the very first change count."""
    circuit.told(news("open", 1), 100.0)
    assert (circuit.claim, circuit.state) == (0, State.OPEN)


@pytest.mark.parametrize("by_hand", ["isolate", "force_closed"])
def test_a_circuit_moved_by_hand_stays_where_it_is(circuit, by_hand) -> None:
    """Whatever is known elsewhere; and no call is the probe."""
    getattr(circuit, by_hand)()
    state = circuit.state
    for epoch, word in enumerate(("open", "held", "closed"), 1):
        circuit.told(news(word, epoch), 100.0)
    assert (circuit.state, circuit.due(1e9)) == (state, False)


def test_a_call_that_comes_while_the_probe_is_asked_for_waits_the_first_time_open(circuit) -> None:
    """It gets an error that says so."""
    error = circuit.probing()
    assert (error.retry_after, "a probe is under way" in str(error)) == (10.0, True)


def test_a_new_circuit_has_nothing_to_report(circuit) -> None:
    """No time left, its first time open, no reason."""
    assert circuit.standing(100.0) == Standing(0.0, 10.0, "")
