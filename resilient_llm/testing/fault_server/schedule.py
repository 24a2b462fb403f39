"""Which request meets which fault: told by its number and the time, never by chance that cannot be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias, cast

import attrs

from resilient_llm.validators import positive

from .faults import Answer, Fault

Share: TypeAlias = tuple[float, Fault]
"""A fault and the share of requests that meet it, from 0 to 1."""


class Schedule(Protocol):
    """Says what happens to each request."""

    def fault(self, number: int, elapsed: float, /) -> Fault:
        """The fault of a request.

        Args:
            number: 1 for the first request.
            elapsed: Seconds since the schedule began.
        """
        ...


class Script:
    """A fault for each request in turn, the last one for all that follow."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults = tuple(faults)
        if not self._faults:
            msg = "a script needs at least one fault"
            raise ValueError(msg)

    def fault(self, number: int, elapsed: float, /) -> Fault:  # noqa: ARG002 - a script does not care when
        """The fault of a request."""
        return self._faults[min(number, len(self._faults)) - 1]


def _shares(
    _instance: object, attribute: attrs.Attribute[tuple[Share, ...]], value: tuple[Share, ...]
) -> None:
    shares = [share for share, _ in value]
    if any(share < 0 for share in shares) or sum(shares) > 1 + 1e-9:
        msg = f"{attribute.name} must have shares of 0 or more that sum up to at most 1, not {shares!r}"
        raise ValueError(msg)


def _all_shares(shares: Iterable[Share]) -> tuple[Share, ...]:
    return tuple(shares)


@attrs.frozen
class Phase:
    """A time during which the backend has the same troubles.

    Args:
        name: What to call it.
        seconds: How long it lasts.
        faults: The faults that requests meet, each with its share of them.
        otherwise: What the rest of them meet.
    """

    name: str
    seconds: float = attrs.field(validator=positive)
    faults: tuple[Share, ...] = attrs.field(default=(), converter=_all_shares, validator=_shares)
    otherwise: Fault = attrs.field(factory=Answer)

    def pick(self, draw: float) -> Fault:
        """The fault that a number from 0 to 1 stands for."""
        for share, fault in self.faults:
            draw -= share
            if draw < 0:
                return fault
        return self.otherwise


def _all_phases(phases: Iterable[Phase]) -> tuple[Phase, ...]:
    return tuple(phases)


@attrs.frozen
class Phases:
    """One phase after the other; after the last all is well.

    The fault of request number n follows from `seed`, n and the phase alone.

    Args:
        phases: In order.
        seed: Another seed, other faults.
    """

    phases: tuple[Phase, ...] = attrs.field(converter=_all_phases)
    seed: int = 0

    @property
    def seconds(self) -> float:
        """How long all phases last."""
        return sum(phase.seconds for phase in self.phases)

    def phase(self, elapsed: float) -> Phase | None:
        """The phase at a time, in seconds since the schedule began; None after the last."""
        for phase in self.phases:
            elapsed -= phase.seconds
            if elapsed < 0:
                return phase
        return None

    def fault(self, number: int, elapsed: float, /) -> Fault:
        """The fault of a request."""
        phase = self.phase(elapsed)
        if phase is None:
            return Answer()
        return phase.pick(random.Random(f"{self.seed}:{number}").random())  # noqa: S311 - repeatable on purpose


def as_schedule(given: Schedule | Fault | Sequence[Schedule | Fault] | None) -> Schedule:
    """What was given, as a schedule: None means that all is well, and what can be played is a fault."""
    if given is None:
        return Script([Answer()])
    if isinstance(given, Sequence):
        return as_schedule(given[0]) if len(given) == 1 else Script(cast("Sequence[Fault]", given))
    told: Any = given
    return Script([told]) if hasattr(told, "play") else told
