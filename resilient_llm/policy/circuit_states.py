"""The states of a circuit and what leads from one to another, as data: the docs' diagram is drawn from it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .circuit import Circuit
    from .outcomes import Verdict


class State(StrEnum):
    """Where a circuit stands."""

    CLOSED = "closed"
    """Calls pass and are counted."""
    OPEN = "open"
    """Calls are rejected until a timer ends."""
    HALF_OPEN = "half_open"
    """One probe passes, the others are rejected."""
    ISOLATED = "isolated"
    """Calls are rejected until somebody resets the circuit by hand."""
    FORCED_CLOSED = "forced_closed"
    """Calls pass, whatever fails, until somebody resets the circuit by hand."""


class Trigger(StrEnum):
    """What moves a circuit."""

    TRIPPED = "too many failures"
    PROBE_SENT = "a call finds the slot free"
    PROBE_SUCCEEDED = "probe succeeded"
    PROBE_FAILED = "probe failed"
    PROBE_RETURNED = "probe ended neutral"
    FORCED_OPEN = "opened by hand"
    ISOLATED = "isolated by hand"
    FORCED_CLOSED = "forced closed by hand"
    RESET = "reset by hand"
    TOLD_OPEN = "opened elsewhere"
    TOLD_CLOSED = "closed elsewhere"


_AUTOMATIC = (State.CLOSED, State.OPEN, State.HALF_OPEN)

_BY_HAND = {
    Trigger.FORCED_OPEN: State.OPEN,
    Trigger.ISOLATED: State.ISOLATED,
    Trigger.FORCED_CLOSED: State.FORCED_CLOSED,
    Trigger.RESET: State.CLOSED,
}

TRANSITIONS: Mapping[tuple[State, Trigger], State] = {
    (State.CLOSED, Trigger.TRIPPED): State.OPEN,
    (State.OPEN, Trigger.PROBE_SENT): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.PROBE_SENT): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.PROBE_SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, Trigger.PROBE_FAILED): State.OPEN,
    (State.HALF_OPEN, Trigger.PROBE_RETURNED): State.HALF_OPEN,
    **{(state, Trigger.TOLD_OPEN): State.OPEN for state in _AUTOMATIC},
    **{(state, Trigger.TOLD_CLOSED): State.CLOSED for state in _AUTOMATIC},
    **{(state, trigger): target for state in State for trigger, target in _BY_HAND.items()},
}
"""Every transition there is. Each starts a new generation, also where the state stays the same."""


@attrs.frozen
class Transition:
    """One step of a circuit.

    Args:
        old: The state before.
        new: The state after.
        trigger: What moved it.
        generation: The number of the generation that begins; counts up by 1.
        error: The failure that opened the circuit, if a failure did.
    """

    old: State
    new: State
    trigger: Trigger
    generation: int
    error: BaseException | None = None


@attrs.define(eq=False)
class Lease:
    """The right to one call, given by `Circuit.enter` and handed back by `settle`.

    Args:
        circuit: Who gave it.
        generation: The circuit's generation then.
        probe: Is this the one call that tests a half-open circuit?
        settled: Has the result been reported?
    """

    circuit: Circuit
    generation: int
    probe: bool
    settled: bool = False

    def settle(self, verdict: Verdict, now: float, error: BaseException | None = None) -> None:
        """Report the result; only the first report counts. See `Circuit.settle`."""
        self.circuit.settle(self, verdict, now, error)

    def confirm(self) -> None:
        """Report that a probe has proved the backend well before its end. See `Circuit.confirm`."""
        self.circuit.confirm(self)
