"""When a circuit opens, and for how long: the options and the two decisions that follow from them alone."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs

from resilient_llm.validators import count, non_negative, positive, ratio

if TYPE_CHECKING:
    from .window import Totals


def _below_one(_instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if value >= 1:
        msg = f"{attribute.name} must be below 1, not {value!r}"
        raise ValueError(msg)


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value


@attrs.frozen(kw_only=True)
class CircuitOptions:
    """When a circuit opens, and for how long. Times in seconds.

    Args:
        fail_max: Consecutive failures that open the circuit, at least 1.
        timeout_duration: How long it stays open at first; a timedelta will do.
        failure_ratio: The share of failures within `window` that opens it, above 0 and at most 1.
        window: The length of the rolling window.
        minimum_calls: Calls in the window below which the ratio means nothing, at least 1.
        max_timeout_duration: Each failed probe doubles the time open, up to this.
        jitter: The share by which the time open varies (0.1: +-10 %), below 1; never above the maximum.
        lease: How long a probe may take before another one may go.
    """

    fail_max: int = attrs.field(default=5, validator=[count, positive])
    timeout_duration: float = attrs.field(default=30.0, converter=_seconds, validator=positive)
    failure_ratio: float = attrs.field(default=0.5, validator=ratio)
    window: float = attrs.field(default=120.0, validator=positive)
    minimum_calls: int = attrs.field(default=10, validator=[count, positive])
    max_timeout_duration: float = attrs.field(default=300.0, validator=positive)
    jitter: float = attrs.field(default=0.1, validator=[non_negative, _below_one])
    lease: float = attrs.field(default=605.0, validator=positive)

    def __attrs_post_init__(self) -> None:
        if self.max_timeout_duration < self.timeout_duration:
            msg = (
                f"max_timeout_duration must be at least timeout_duration ({self.timeout_duration!r}), "
                f"not {self.max_timeout_duration!r}"
            )
            raise ValueError(msg)

    def spread(self, duration: float, draw: float) -> float:
        """`duration` with jitter: what would pass the maximum is mirrored at it, so that it stays spread."""
        drawn = duration * (1 + self.jitter * (2 * draw - 1))
        return self.max_timeout_duration - abs(self.max_timeout_duration - drawn)

    def overrun(self, run: int, totals: Totals) -> str | None:
        """Why `run` failures in a row, or the window's totals, open the circuit; None if they do not."""
        if run >= self.fail_max:
            return f"{run} failures in a row"
        calls = totals.successes + totals.failures
        if calls >= self.minimum_calls and totals.failures >= calls * self.failure_ratio:
            return f"{totals.failures} of {calls} calls failed within {self.window:g} s"
        return None
