"""Token buckets: how much may be taken now, and when there will be more.

Two kinds, by what backends do: `Bucket` fills steadily (OpenAI, Groq and Anthropic, whose reset is the time until it is
full again), `Refilled` is filled all at once at an instant (Together, OpenRouter, Cerebras and most gateways).
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Final, TypeAlias

import attrs

MINUTE: Final = 60.0
SOON: Final = 0.001
"""Seconds; no wait is shorter, so that rounding makes no busy loop."""

NEGLIGIBLE: Final = 1e-6


class Count(IntEnum):
    """What a limit counts; the index into `Amounts`."""

    REQUESTS = 0
    TOKENS = 1
    INPUT = 2
    OUTPUT = 3

    @property
    def words(self) -> str:
        """What messages call it."""
        return ("requests", "tokens", "tokens of prompts", "tokens of answers")[self]


Amounts: TypeAlias = tuple[float, float, float, float]
"""What calls take, or have taken: requests, tokens, those of the prompts, those of the answers."""

NOTHING: Final[Amounts] = (0, 0, 0, 0)


def total(some: Amounts, more: Amounts, sign: int = 1) -> Amounts:
    """Both together, or with -1 what is left of the first."""
    return (
        some[0] + sign * more[0],
        some[1] + sign * more[1],
        some[2] + sign * more[2],
        some[3] + sign * more[3],
    )


def one_call(prompt: float = 0, answer: float = 0) -> Amounts:
    """What a single call takes."""
    return (1, prompt + answer, prompt, answer)


@attrs.define(eq=False)
class Bucket:
    """Fills steadily up to its capacity. What is taken beyond its content is owed.

    Args:
        name: What messages call the limit.
        counts: What it counts.
        capacity: How much it holds.
        rate: How much comes in each second, above 0.
        level: How much is in it at the instant `at`; may be negative.
        at: Monotonic seconds.
    """

    name: str
    counts: Count
    capacity: float
    rate: float
    level: float
    at: float

    def wait(self, amount: float, ahead: float, now: float) -> float:
        """Seconds until there is enough; 0 if there is.

        Args:
            amount: What is to be taken; of more than the bucket holds, a full bucket is enough.
            ahead: What others take before.
            now: Monotonic seconds.
        """
        self._fill(now)
        missing = ahead + min(amount, self.capacity) - self.level
        return 0.0 if missing <= NEGLIGIBLE else max(SOON, self._comes(missing, now))

    def is_full(self, now: float) -> bool:
        """Would a new one know as much?"""
        self._fill(now)
        return self.level >= self.capacity

    def take(self, amount: float, now: float) -> None:
        """Take it, whether it is there or not; give some back if negative."""
        self._fill(now)
        self.level = min(self.capacity, self.level - amount)

    def give(self, amount: float, at: float, now: float) -> None:
        """Give back what was taken at the instant `at`."""
        del at
        Bucket.take(self, -amount, now)

    def _fill(self, now: float) -> None:
        if now > self.at:
            self.level = min(self.capacity, self.level + (now - self.at) * self.rate)
            self.at = now

    def _comes(self, missing: float, _now: float) -> float:
        return missing / self.rate


@attrs.define(eq=False)
class Refilled(Bucket):
    """Filled to its capacity at one instant, and again each minute, as far as anybody knows.

    Args:
        full_at: The next such instant, in monotonic seconds.
    """

    full_at: float

    def _fill(self, now: float) -> None:
        if now >= self.full_at:
            self.level = self.capacity
            self.full_at += MINUTE * (1 + (now - self.full_at) // MINUTE)

    def _comes(self, missing: float, now: float) -> float:
        return self.full_at - now + MINUTE * (math.ceil(missing / self.capacity) - 1)


def allowance(name: str, counts: Count, per_minute: float, burst: float, now: float) -> Bucket:
    """The bucket of a limit of one's own, full; `burst` is the share of a minute's allowance that it holds."""
    capacity = max(1.0, per_minute * burst)
    return Bucket(f"{name}={per_minute:g}", counts, capacity, per_minute / MINUTE, capacity, now)
