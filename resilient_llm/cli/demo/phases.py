"""What goes wrong, and when: the phases that the backend goes through."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from resilient_llm.testing import Answer, Cut, Garbage, Phase, Reset, Stall, Status, Throttle

if TYPE_CHECKING:
    from resilient_llm.testing import Fault
    from resilient_llm.testing.fault_server.schedule import Share

WINDOW: Final = 2048
"""The backend's context window, in tokens."""

Kind: TypeAlias = Literal["whole", "stream", "long"]


@attrs.frozen
class Stretch:
    """A phase of the demo: the backend's, what it is in words, and which kinds of calls come."""

    phase: Phase
    what: str
    kinds: tuple[Kind, ...] = ("whole", "stream")


def stretches(scale: float) -> tuple[Stretch, ...]:
    """The phases, their times multiplied by `scale`."""
    latency, interval = 0.04 * scale, 0.004 * scale
    answer = Answer(latency=latency, interval=interval)
    slow = Answer(latency=0.3 * scale, interval=0.05 * scale)
    throttle = Throttle(refuse=0.7 * scale, period=scale, otherwise=answer)
    refused = f"429 for {throttle.refuse:.2g} s of each {throttle.period:.2g} s"
    phase = partial(_phase, scale=scale, otherwise=answer)
    streams = (*_broken_streams(latency, interval), (0.2, slow))
    return (
        Stretch(phase("calm", 2), "answers"),
        Stretch(phase("limits", 4, otherwise=throttle), refused),
        Stretch(phase("brown-out", 4, (*_brown_out(latency), (0.2, slow))), "3 in 10: 503, 500, reset"),
        Stretch(phase("outage", 4, otherwise=Reset()), "resets every connection"),
        Stretch(phase("back", 2), "answers again"),
        Stretch(
            phase("streams", 4, streams),
            "3 in 10: cut, stalled, junk",
            ("stream", "stream", "stream", "whole"),
        ),
        Stretch(phase("overflow", 4), f"window of {WINDOW:,} tokens", ("long", "long", "whole", "stream")),
    )


def _phase(
    name: str, seconds: float, faults: tuple[Share, ...] = (), *, scale: float, otherwise: Fault
) -> Phase:
    return Phase(name, seconds * scale, faults, otherwise)


def _brown_out(latency: float) -> tuple[Share, ...]:
    return (
        (0.15, Status.overloaded(latency=latency)),
        (0.05, Status.failed(latency=latency)),
        (0.10, Reset(latency=latency)),
    )


def _broken_streams(latency: float, interval: float) -> tuple[Share, ...]:
    cut = partial(Cut, latency=latency, interval=interval)
    return (
        (0.08, cut(after=0)),
        (0.05, cut(after=0, clean=True)),
        (0.04, cut(after=5)),
        (0.03, cut(after=5, clean=True)),
        (0.05, Stall(latency=latency)),
        (0.05, Garbage(latency=latency)),
    )


def place_of(parts: tuple[Stretch, ...], at: float) -> int:
    """The place of the phase at a time; the last one for what comes after it."""
    for place, part in enumerate(parts):
        at -= part.phase.seconds
        if at < 0:
            return place
    return len(parts) - 1
