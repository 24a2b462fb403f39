"""What will happen: the backend's phases and the calls, all of it from the seed."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs
import backoff

from resilient_llm.middleware import CircuitBreaker
from resilient_llm.testing import Answer, Cut, Garbage, Phase, Phases, Reset, Stall, Status, Throttle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiobreaker import CircuitBreakerListener

    from resilient_llm.models import Message
    from resilient_llm.presets import StackOptions
    from resilient_llm.testing import Fault
    from resilient_llm.testing.fault_server.schedule import Share

SECONDS: Final = 24.0
"""How long the phases last together if nothing is scaled."""
WINDOW: Final = 2048
"""The backend's context window, in tokens."""
MODEL: Final = "demo-model"
TURNS: Final = 24
WORDS: Final = 70
"""A long conversation: so many turns of so many words, about 5,000 tokens."""

Kind: TypeAlias = Literal["whole", "stream", "long"]


@attrs.frozen
class Limits:
    """The options in which the demo's stack differs from the standard one. Times in seconds.

    The defaults are for models that may think for a minute; half a minute of demo needs shorter ones. The
    `deadline` is the bare client's time limit as well.
    """

    deadline: float = 6.0
    first_token_timeout: float = 1.5
    idle_timeout: float = 1.0
    attempt_timeout: float = 1.5
    backoff_factor: float = 0.5
    breaker_timeout_duration: float = 1.0
    breaker_max_timeout_duration: float = 1.5

    def scaled(self, scale: float) -> Limits:
        """The same for a shorter or longer demo."""
        return Limits(*(round(value * scale, 3) for value in attrs.astuple(self)))

    def options(self, seed: int, listener: CircuitBreakerListener) -> StackOptions:
        """The options of the standard stack."""
        return {
            "deadline": self.deadline,
            "first_token_timeout": self.first_token_timeout,
            "idle_timeout": self.idle_timeout,
            "attempt_timeout": self.attempt_timeout,
            "wait": partial(backoff.expo, base=2, factor=self.backoff_factor, max_value=30),
            "rng": random.Random(seed),  # noqa: S311 - repeatable on purpose
            "breaker": CircuitBreaker(
                timeout_duration=self.breaker_timeout_duration,
                max_timeout_duration=self.breaker_max_timeout_duration,
                listeners=[listener],
                rng=random.Random(seed),  # noqa: S311 - repeatable on purpose
            ),
        }


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
    cut = partial(Cut, latency=latency, interval=interval)

    def phase(name: str, seconds: float, *faults: Share, otherwise: Fault = answer) -> Phase:
        return Phase(name, seconds * scale, faults, otherwise)

    busy, failed, reset = (
        Status.overloaded(latency=latency),
        Status.failed(latency=latency),
        Reset(latency=latency),
    )
    throttle = Throttle(refuse=0.7 * scale, period=1.0 * scale, otherwise=answer)
    streams: tuple[Share, ...] = (
        (0.08, cut(after=0)),
        (0.05, cut(after=0, clean=True)),
        (0.04, cut(after=5)),
        (0.03, cut(after=5, clean=True)),
        (0.05, Stall(latency=latency)),
        (0.05, Garbage(latency=latency)),
        (0.20, slow),
    )
    return (
        Stretch(phase("calm", 2.0), "answers"),
        Stretch(
            phase("limits", 4.0, otherwise=throttle), f"429 for {0.7 * scale:.2g} s of each {scale:.2g} s"
        ),
        Stretch(
            phase("brown-out", 4.0, (0.15, busy), (0.05, failed), (0.1, reset), (0.2, slow)),
            "3 in 10: 503, 500, reset",
        ),
        Stretch(phase("outage", 4.0, otherwise=Reset()), "resets every connection"),
        Stretch(phase("back", 2.0), "answers again"),
        Stretch(
            phase("streams", 4.0, *streams),
            "3 in 10: cut, stalled, junk",
            ("stream", "stream", "stream", "whole"),
        ),
        Stretch(phase("overflow", 4.0), f"window of {WINDOW:,} tokens", ("long", "long", "whole", "stream")),
    )


@attrs.frozen
class Call:
    """One call, made by both clients at the same time.

    Args:
        number: 1 for the first.
        at: When, in seconds since the beginning.
        phase: The place of its phase.
        kind: Whole, streamed, or whole with a conversation that is longer than the window.
    """

    number: int
    at: float
    phase: int
    kind: Kind

    @property
    def messages(self) -> list[Message]:
        """What is asked."""
        question: Message = {"role": "user", "content": f"Question {self.number}: what is resilience?"}
        system: Message = {"role": "system", "content": "You are a patient teacher."}
        return [system, *(_small_talk() if self.kind == "long" else ()), question]


def _small_talk() -> Iterable[Message]:
    for turn in range(TURNS):
        yield {"role": ("user", "assistant")[turn % 2], "content": f"Turn {turn}. " + "more of it " * WORDS}


@attrs.frozen
class Plan:
    """The demo, ready to be played."""

    seed: int
    calls: tuple[Call, ...]
    stretches: tuple[Stretch, ...]
    limits: Limits

    @classmethod
    def of(cls, *, seed: int, calls: int, seconds: float) -> Plan:
        """The plan of a seed: `calls` calls spread over `seconds` seconds."""
        scale = seconds / SECONDS
        parts = stretches(scale)
        draws = random.Random(f"calls {seed}")  # noqa: S311 - repeatable on purpose
        made = []
        for number in range(1, calls + 1):
            at = (number - draws.random()) * seconds / calls
            place = place_of(parts, at)
            made.append(Call(number, at, place, draws.choice(parts[place].kinds)))
        return cls(seed, tuple(made), parts, Limits().scaled(scale))

    @property
    def schedule(self) -> Phases:
        """What both servers do."""
        return Phases([part.phase for part in self.stretches], self.seed)

    @property
    def seconds(self) -> float:
        """How long calls are made."""
        return self.schedule.seconds


def place_of(parts: tuple[Stretch, ...], at: float) -> int:
    """The place of the phase at a time; the last one for what comes after it."""
    for place, part in enumerate(parts):
        at -= part.phase.seconds
        if at < 0:
            return place
    return len(parts) - 1
