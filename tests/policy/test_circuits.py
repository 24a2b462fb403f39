"""The bounded registry of circuits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from resilient_llm.policy.circuit import Circuit
from resilient_llm.policy.circuit_states import State
from resilient_llm.policy.circuits import Circuits
from resilient_llm.policy.outcomes import Verdict

if TYPE_CHECKING:
    from collections.abc import Hashable


def make(key: Hashable) -> Circuit:
    return Circuit(name=str(key), draw=lambda: 0.5)


def test_a_key_has_one_circuit():
    """It is made at the first use and found from then on."""
    circuits = Circuits(make, 8)
    assert circuits.find("a") is None
    first = circuits.get("a", 0.0)
    assert circuits.get("a", 1.0) is first
    assert circuits.find("a") is first
    assert circuits.get("b", 1.0) is not first


def test_the_least_recently_used_circuit_goes_first():
    """Using one keeps it; merely looking does not."""
    circuits = Circuits(make, 3)
    for key in "abc":
        circuits.get(key, 0.0)
    circuits.get("a", 0.0)
    circuits.find("b")
    circuits.get("d", 0.0)
    assert list(circuits.snapshot()) == ["c", "a", "d"]


def test_only_spotless_circuits_are_evicted():
    """Open, busy and recently failing ones stay, and the bound is exceeded where all are."""
    circuits = Circuits(make, 3)
    circuits.get("open", 0.0).force_open(0.0)
    busy = circuits.get("busy", 0.0).enter(0.0)
    circuits.get("failing", 0.0).enter(0.0).settle(Verdict.FAILURE, 0.0)
    circuits.get("clean", 0.0)
    assert set(circuits.snapshot()) == {"open", "busy", "failing", "clean"}
    circuits.get("new", 0.0)
    assert set(circuits.snapshot()) == {"open", "busy", "failing", "new"}
    busy.settle(Verdict.SUCCESS, 1.0)
    circuits.get("newest", 200.0)
    assert len(circuits.snapshot()) == 3
    assert {"open", "newest"} < set(circuits.snapshot())


def test_a_new_circuit_is_never_the_one_evicted():
    """Also where it is the only one without a stain."""
    circuits = Circuits(make, 1)
    circuits.get("open", 0.0).force_open(0.0)
    new = circuits.get("new", 0.0)
    assert circuits.find("new") is new


def test_a_crowd_of_stained_circuits_is_thinned_out_once_they_are_clean():
    """Each new key examines some, so the registry comes back to its bound."""
    circuits = Circuits(make, 10)
    for number in range(100):
        circuits.get(number, 0.0).enter(0.0).settle(Verdict.FAILURE, 0.0)
    assert len(circuits.snapshot()) == 100
    for number in range(10):
        circuits.get(f"later {number}", 1000.0)
    assert len(circuits.snapshot()) == 10


def test_orders_go_to_the_named_circuits_or_to_all():
    """Named ones are made if need be."""
    circuits = Circuits(make, 8)
    circuits.get("a", 0.0)
    circuits.order(Circuit.isolate, ["b"], 0.0)
    assert {key: circuit.state for key, circuit in circuits.snapshot().items()} == {
        "a": State.CLOSED,
        "b": State.ISOLATED,
    }
    circuits.order(Circuit.force_closed, (), 0.0)
    assert {circuit.state for circuit in circuits.snapshot().values()} == {State.FORCED_CLOSED}


def test_standing_orders_reach_circuits_to_come():
    """Until they are taken back."""
    circuits = Circuits(make, 8)
    circuits.order_to_come(Circuit.isolate)
    assert circuits.get("a", 0.0).state is State.ISOLATED
    circuits.order_to_come(None)
    assert circuits.get("b", 0.0).state is State.CLOSED


@pytest.mark.parametrize("key", ["old", "third"])
def test_a_response_that_is_collected_meanwhile_finds_its_circuit(key):
    """The garbage collector may settle a response in the midst of an eviction, too: nobody waits for ever."""

    class Collecting(Circuit):
        def spotless(self, now: float) -> bool:
            if not settled:
                settled.append(None)
                settled[0] = circuits.get(key, now)
            return super().spotless(now)

    settled: list[Circuit | None] = []
    circuits = Circuits(lambda key: Collecting(name=str(key), draw=lambda: 0.5), 1)
    circuits.get("old", 0.0)
    thread = threading.Thread(target=circuits.get, args=("new", 0.0), daemon=True)
    thread.start()
    thread.join(5.0)
    assert not thread.is_alive()
    assert settled[0] is not None
    assert len(circuits.snapshot()) == 1


def test_a_registry_of_none_is_rejected():
    """The bound is at least 1."""
    with pytest.raises(ValueError, match="max_circuits must be 1 or more, not 0"):
        Circuits(make, 0)


def test_the_order_is_kept_from_the_second_circuit_on():
    """Of two, the one used last stays."""
    circuits = Circuits(make, 2)
    for key in "abac":
        circuits.get(key, 0.0)
    assert list(circuits.snapshot()) == ["a", "c"]


def test_each_of_several_keys_finds_its_own_circuit_again():
    """Whichever is asked for, in whatever order."""
    circuits = Circuits(make, 8)
    made = {key: circuits.get(key, 0.0) for key in "abc"}
    assert all(circuits.get(key, 1.0) is made[key] for key in "bca")
