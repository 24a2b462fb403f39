"""aiobreaker's vocabulary: what its listeners read of a circuit, and what its breakers say of themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

import aiobreaker
import attrs
from aiobreaker import CircuitBreakerListener, CircuitBreakerState

from .circuit_options import CircuitOptions
from .circuit_states import State, Transition
from .shared_circuit import SharedCircuit

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from aiobreaker.state import CircuitBreakerBaseState

    from .circuit import Circuit

STATES = {
    State.CLOSED: CircuitBreakerState.CLOSED,
    State.OPEN: CircuitBreakerState.OPEN,
    State.HALF_OPEN: CircuitBreakerState.HALF_OPEN,
    State.ISOLATED: CircuitBreakerState.OPEN,
    State.FORCED_CLOSED: CircuitBreakerState.CLOSED,
}
"""Our states in its terms, which know none that last until somebody changes them."""


class KeyCircuit(SharedCircuit):
    """The circuit of one key, with the attributes that aiobreaker's listeners read."""

    def __init__(
        self,
        key: Hashable,
        options: CircuitOptions,
        *,
        name: str,
        draw: Callable[[], float],
        on_transition: Callable[[KeyCircuit, Transition], None] | None = None,
    ) -> None:
        super().__init__(options, name=name, draw=draw, on_transition=on_transition)
        self.key = key

    @property
    def current_state(self) -> CircuitBreakerState:
        """The state in aiobreaker's terms: isolated is open there, forced closed is closed."""
        return STATES[self.state]

    @property
    def timeout_duration(self) -> timedelta:
        """How long the circuit stays open at first."""
        return timedelta(seconds=self.options.timeout_duration)


def state_change(
    circuit: Circuit, transition: Transition
) -> tuple[CircuitBreakerBaseState, CircuitBreakerBaseState] | None:
    """The old and the new state as listeners get them: objects with aiobreaker's member as `state`.

    None where the two are the same to aiobreaker.
    """
    old, new = STATES[transition.old], STATES[transition.new]
    return None if old is new else (old.value(circuit), new.value(circuit))


Excluded: TypeAlias = "type | Callable[[BaseException], object]"
"""An exception class, or a function of an exception that answers whether it is excluded."""


class Exclusions:
    """Exceptions that say nothing about the backend, as aiobreaker's `exclude` lists them.

    Every class is a class here. (aiobreaker takes one whose metaclass is not `type`, such as an ABC, for a
    function of the exception, and so excludes everything.)

    Raises:
        TypeError: One is neither a class nor a function.
    """

    def __init__(self, exclude: Iterable[Excluded]) -> None:
        entries = tuple(exclude)
        for entry in entries:
            if not callable(entry):
                msg = f"exclude takes exception classes and functions of an exception, not {entry!r}"
                raise TypeError(msg)
        self._classes = tuple(entry for entry in entries if isinstance(entry, type))
        self._functions = tuple(entry for entry in entries if not isinstance(entry, type))

    def __contains__(self, error: BaseException) -> bool:
        """Is the exception excluded?"""
        return isinstance(error, self._classes) or any(function(error) for function in self._functions)


@attrs.frozen
class Terms:
    """What a breaker goes by: thresholds, exclusions, name and listeners."""

    options: CircuitOptions
    exclude: tuple[Excluded, ...]
    listeners: tuple[CircuitBreakerListener, ...]
    name: str | None

    def with_those_of(self, breaker: aiobreaker.CircuitBreaker | None) -> Terms:
        """Take over an existing breaker's, as they are now; its exclusions and listeners come first.

        Raises:
            TypeError: The thresholds are given twice, or it is no `aiobreaker.CircuitBreaker`.
        """
        if breaker is None:
            return self
        if not isinstance(breaker, aiobreaker.CircuitBreaker):
            msg = (
                f"breaker must be an aiobreaker.CircuitBreaker, not {breaker!r}; all other options have names"
            )
            raise TypeError(msg)
        usual = CircuitOptions()
        mine = self.options.fail_max, self.options.timeout_duration
        if mine != (usual.fail_max, usual.timeout_duration):
            msg = "fail_max and timeout_duration come from the aiobreaker.CircuitBreaker: set them there"
            raise TypeError(msg)
        return Terms(
            attrs.evolve(self.options, fail_max=breaker.fail_max, timeout_duration=breaker.timeout_duration),
            (*breaker.excluded_exceptions, *self.exclude),
            (*breaker.listeners, *self.listeners),
            self.name or breaker.name,
        )
