"""aiobreaker's vocabulary, checked against aiobreaker itself."""

from __future__ import annotations

from abc import ABCMeta
from datetime import timedelta

import aiobreaker
import pytest
from aiobreaker import CircuitBreakerState

from resilient_llm.policy.aiobreaker_terms import STATES, Exclusions, KeyCircuit, Terms, state_change
from resilient_llm.policy.circuit_options import CircuitOptions
from resilient_llm.policy.circuit_states import State, Transition, Trigger


class AbstractError(Exception, metaclass=ABCMeta):
    """An exception whose metaclass is not `type`."""


def circuit() -> KeyCircuit:
    return KeyCircuit("gpt-4o", CircuitOptions(timeout_duration=45.0, fail_max=7), name="m", draw=lambda: 0.5)


def test_a_circuit_reads_like_an_aiobreaker():
    """Every attribute that a listener may read has the same name and type on both."""
    ours, theirs = circuit(), aiobreaker.CircuitBreaker(7, timedelta(seconds=45), name="m")
    for attribute in ("name", "current_state", "fail_counter", "fail_max", "timeout_duration"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    assert ours.key == "gpt-4o"


def test_states_set_by_hand_are_the_nearest_of_aiobreaker():
    """Isolated is open, forced closed is closed, every state has a name there."""
    assert set(STATES) == set(State)
    ours = circuit()
    ours.isolate()
    assert ours.current_state is CircuitBreakerState.OPEN
    ours.force_closed()
    assert ours.current_state is CircuitBreakerState.CLOSED


def test_a_state_change_has_the_shape_that_aiobreaker_gives_it():
    """Listeners get the same kind of objects from both."""
    seen = []

    class Listener(aiobreaker.CircuitBreakerListener):
        def state_change(self, breaker, old, new):
            seen.append((type(old), old.state, type(new), new.state))

    theirs = aiobreaker.CircuitBreaker(listeners=[Listener()])
    theirs.half_open()
    change = state_change(circuit(), Transition(State.CLOSED, State.HALF_OPEN, Trigger.PROBE_SENT, 1))
    assert change is not None
    old, new = change
    assert seen == [(type(old), old.state, type(new), new.state)]


def test_moves_within_one_state_of_aiobreaker_are_no_state_change():
    """From open to isolated nothing happens in its terms."""
    assert state_change(circuit(), Transition(State.OPEN, State.ISOLATED, Trigger.ISOLATED, 1)) is None


def test_exclusions_are_classes_and_functions():
    """A class matches its instances and those of its subclasses, a function what it says."""
    exclusions = Exclusions([LookupError, lambda error: "quota" in str(error)])
    assert KeyError("k") in exclusions
    assert OSError("out of quota") in exclusions
    assert OSError("down") not in exclusions
    assert OSError() not in Exclusions([])


def test_a_class_with_another_metaclass_excludes_only_itself():
    """To aiobreaker an ABC is a function, and true of every exception."""
    exclusions = Exclusions([AbstractError])
    assert AbstractError() in exclusions
    assert OSError() not in exclusions


def test_an_exclusion_that_is_neither_is_rejected():
    """At construction, not at the first failure."""
    with pytest.raises(TypeError, match="not 'KeyError'"):
        Exclusions(["KeyError"])


def test_an_existing_breakers_terms_are_taken_over():
    """Thresholds and name replace the defaults; its exclusions and listeners come before one's own."""
    mine, its = aiobreaker.CircuitBreakerListener(), aiobreaker.CircuitBreakerListener()
    breaker = aiobreaker.CircuitBreaker(
        fail_max=2, timeout_duration=timedelta(seconds=7), exclude=[KeyError], listeners=[its], name="its"
    )
    terms = Terms(CircuitOptions(window=60.0), (OSError,), (mine,), None).with_those_of(breaker)
    assert terms == Terms(
        CircuitOptions(fail_max=2, timeout_duration=7.0, window=60.0), (KeyError, OSError), (its, mine), "its"
    )


def test_a_name_of_ones_own_wins():
    """The existing breaker's is only a default."""
    terms = Terms(CircuitOptions(), (), (), "mine").with_those_of(aiobreaker.CircuitBreaker(name="its"))
    assert terms.name == "mine"


def test_thresholds_given_twice_are_rejected():
    """Rather than one of them ignored."""
    terms = Terms(CircuitOptions(fail_max=3), (), (), None)
    with pytest.raises(TypeError, match="come from the aiobreaker"):
        terms.with_those_of(aiobreaker.CircuitBreaker())


def test_what_is_no_aiobreaker_is_rejected():
    """Such as a number meant as `fail_max`."""
    with pytest.raises(TypeError, match=r"must be an aiobreaker\.CircuitBreaker, not 3"):
        Terms(CircuitOptions(), (), (), None).with_those_of(3)
