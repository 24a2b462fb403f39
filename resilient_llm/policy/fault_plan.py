"""Which call meets which fault, and how slow it is: told by its number and by draws of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

Fault = TypeVar("Fault")


class Chance(Protocol):
    """Where draws come from; `random.Random` is one."""

    def random(self) -> float:
        """A number from 0 to 1, without 1."""
        ...

    def uniform(self, a: float, b: float, /) -> float:
        """A number between the two."""
        ...


Latency: TypeAlias = float | tuple[float, float] | Callable[[Any], float]
"""Seconds: always the same, between two bounds, or a function of a `random.Random`."""


def _share(_instance: object, attribute: attrs.Attribute[float], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        msg = f"{attribute.name} must be a number from 0 to 1, not {value!r}"
        raise ValueError(msg)


def _latency(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    bounds = value if isinstance(value, tuple) else (value, value)
    numbers = [bound for bound in bounds if isinstance(bound, int | float) and math.isfinite(bound)]
    if not callable(value) and not (len(bounds) == len(numbers) == 2 and 0 <= numbers[0] <= numbers[1]):
        msg = f"{attribute.name} must be seconds, a pair of them in order, or a function of a Random, not {value!r}"
        raise ValueError(msg)


@attrs.frozen(kw_only=True)
class FaultPlan(Generic[Fault]):
    """What happens to the calls.

    Args:
        rate: The share of calls that meet a fault, from 0 to 1.
        faults: What they meet, each as often as the others.
        script: Instead of both: a fault for each call in turn, the last one for all that follow.
        latency: How long each call is held up first.
    """

    rate: float = attrs.field(default=0.0, validator=_share)
    faults: Sequence[Fault] = attrs.field(default=(), converter=tuple)
    script: Sequence[Fault] = attrs.field(default=(), converter=tuple)
    latency: Latency = attrs.field(default=0.0, validator=_latency)

    def __attrs_post_init__(self) -> None:
        """Check the options against each other."""
        if self.rate and self.script:
            msg = "give either rate or script, not both"
            raise ValueError(msg)
        if self.rate and not self.faults:
            msg = "a rate needs errors to draw from"
            raise ValueError(msg)

    def fault(self, number: int, chance: Chance) -> Fault | None:
        """What the call meets; None: nothing.

        Args:
            number: 1 for the first call.
            chance: Draws for this call alone.
        """
        if self.script:
            return self.script[min(number, len(self.script)) - 1]
        hit, which = chance.random(), chance.random()
        return self.faults[int(which * len(self.faults))] if hit < self.rate else None

    def seconds(self, chance: Chance) -> float:
        """How long the call is held up."""
        if isinstance(self.latency, tuple):
            return chance.uniform(*self.latency)
        return max(0.0, self.latency(chance)) if callable(self.latency) else self.latency
