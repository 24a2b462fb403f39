"""What will happen: the calls, the backend's phases, the options, all of it from the seed."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import backoff

from resilient_llm.middleware import CircuitBreaker
from resilient_llm.testing import Phases

from .phases import Kind, Stretch, place_of, stretches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiobreaker import CircuitBreakerListener

    from resilient_llm.models import Message
    from resilient_llm.stages import StackOptions

SECONDS: Final = 24.0
"""How long the phases last together if nothing is scaled."""
MODEL: Final = "demo-model"
TURNS: Final = 24
WORDS: Final = 70
"""A long conversation: so many turns of so many words, about 5,000 tokens."""


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
