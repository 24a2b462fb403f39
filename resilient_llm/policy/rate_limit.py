"""The rate limit's state machine for one key: asked before a call, told after it; no I/O, no clock, no randomness.

The rules of this file:

- A call enters if no cool-down is on and every bucket has enough for it; it takes from all of them or from none.
- After a cool-down there is one bucket more, the pace that the backend was seen to bear (`release.py`).
- The buckets of one's own limits are corrected by what the backend says that the call has cost.
- The buckets that headers teach are a picture of the backend's, renewed by every answer. An answer tells how much
  was left when its call was judged; the calls that were sent after it are not in that figure yet, and are taken off.
  How far in the past that was is not known, but it was after the call was sent: what has come in since pays for as
  much of what is taken off. A picture older than the newest is not looked at, and one that nobody renews fades.
- The lock is reentrant and held around arithmetic only: a response that the garbage collector finds settles, and
  comes here, at any moment.
"""

from __future__ import annotations

import math
from threading import RLock
from typing import TYPE_CHECKING, Final

import attrs

from .buckets import NOTHING, Amounts, Bucket, Count, total
from .cooldown import Cooldown
from .leased import Leased
from .pictures import pictured
from .release import Release

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from resilient_llm.models import Usage

    from .fleet import Portions, Wanted
    from .rate_headers import Told

GUESSED_ANSWER: Final = 512.0
"""Tokens of an answer whose length nobody bounds, before any has shown more."""

_LEARNING: Final = 1 / 8


@attrs.frozen(eq=False)
class Ticket:
    """A call that was let in.

    Args:
        amounts: What it took.
        sent: What all calls had taken then, itself included.
        at: When, in monotonic seconds.
        generation: The cool-down's, then.
    """

    amounts: Amounts
    sent: Amounts
    at: float
    generation: int


STRANGER: Final = Ticket(NOTHING, NOTHING, -math.inf, 0)
"""The ticket of a call that was sent before anything was known of its key."""


@attrs.frozen
class Held:
    """A call that may not go yet.

    Args:
        seconds: How long, if nobody gives anything back.
        why: The limit, for messages.
        cooling: Is it the cool-down?
    """

    seconds: float
    why: str
    cooling: bool = False


class Pace:
    """What one key may send. Thread-safe; each call is one atomic decision. `now` is in monotonic seconds.

    Args:
        own: One's own limits.
        longest: Seconds after which neither a cool-down nor what headers told is believed any more.

    Attributes:
        answer: The tokens of a typical answer, as far as they were told.
    """

    def __init__(self, own: Sequence[Bucket], longest: float) -> None:
        self.answer = GUESSED_ANSWER
        self._own = tuple(own)
        self._longest = longest
        self._cooldown = Cooldown(longest)
        self._release = Release()
        self._told: dict[str, tuple[Bucket, float]] = {}
        self._sent = self._queued = NOTHING
        self._newest = -math.inf
        self._lock = RLock()

    @property
    def counts_tokens(self) -> bool:
        """Is there a limit on tokens, so that calls must be measured?"""
        with self._lock:
            return any(bucket.counts is not Count.REQUESTS for bucket in self._buckets())

    def idle(self, now: float) -> bool:
        """Would nothing be lost with it: no cool-down nor a pace after it, no limit of one's own that is in use?"""
        with self._lock:
            return not self._release.lasts(now) and all(bucket.is_full(now) for bucket in self._own)

    def cooling(self, now: float) -> float:
        """Seconds for which the cool-down still lasts; 0 if there is none."""
        return self._cooldown.left(now)

    # Before the call ...

    def enter(self, amounts: Amounts, now: float) -> Ticket | Held:
        """Let a call in, or say how long it must wait."""
        with self._lock:
            held = self._held(amounts, NOTHING, now)
            if held is not None:
                return held
            for bucket in self._buckets():
                bucket.take(amounts[bucket.counts], now)
            self._sent = total(self._sent, amounts)
            return Ticket(amounts, self._sent, now, self._cooldown.generation)

    def queue(self, amounts: Amounts, now: float) -> Held | None:
        """Take note of a call that waits for its turn, and say how long that will be; None: not at all."""
        with self._lock:
            ahead, self._queued = self._queued, total(self._queued, amounts)
            return self._held(amounts, ahead, now)

    def unqueue(self, amounts: Amounts) -> None:
        """It waits no more."""
        with self._lock:
            self._queued = total(self._queued, amounts, -1)

    # A limit that a fleet shares ...

    def reach(self, peers: int, now: float, *, alone: bool) -> None:
        """Go by the fleet, or alone by the part of the limits that so many processes leave."""
        with self._lock:
            for bucket in self._leased():
                bucket.reach(peers, now, alone=alone)

    def wanted(self, amounts: Amounts, now: float) -> list[Wanted]:
        """What must be leased before a call can enter; nothing if it is there, or not the time to ask."""
        with self._lock:
            wanted = [bucket.wanted(amounts[bucket.counts], now) for bucket in self._leased()]
            return [want for want in wanted if want is not None]

    def leased(self, wanted: Sequence[Wanted], portions: Portions, asked: float, now: float) -> None:
        """The fleet's answer to what was wanted at the instant `asked`."""
        with self._lock:
            buckets = {bucket.name: bucket for bucket in self._leased()}
            for want, given in zip(wanted, portions.given, strict=False):
                buckets[want.name].given(given, asked)
            for want in wanted if not portions.given else ():
                buckets[want.name].refused(portions.wait, now)

    def _leased(self) -> list[Leased]:
        return [bucket for bucket in self._own if isinstance(bucket, Leased)]

    def _held(self, amounts: Amounts, ahead: Amounts, now: float) -> Held | None:
        left = self._cooldown.left(now)
        pace = self._release.bucket if self._release.lasts(now) else None
        if left and pace is None:
            return Held(left, "the cool-down", cooling=True)
        held = Held(left, "the cool-down") if left else None
        for bucket in self._own:
            held = _longer(held, bucket, bucket.wait(amounts[bucket.counts], ahead[bucket.counts], now))
        for bucket, until in self._told.values():
            seconds = bucket.wait(amounts[bucket.counts], ahead[bucket.counts], now)
            held = _longer(held, bucket, min(seconds, until - now))
        if pace is not None and (seconds := pace.wait(amounts[pace.counts], ahead[pace.counts], now + left)):
            self._release.awaited(now + left + seconds)
            held = _longer(held, pace, left + seconds)
        return held

    # After it ...

    def unsent(self, ticket: Ticket, now: float) -> None:
        """Nothing was sent after all: all that was taken is given back."""
        with self._lock:
            for bucket in self._buckets():
                bucket.give(ticket.amounts[bucket.counts], ticket.at, now)

    def refused(self, ticket: Ticket, now: float) -> None:
        """The backend refused the call: it used no tokens of one's own allowance."""
        self._correct(ticket, 0.0, now)

    def limited(self, asked: float | None, now: float, *, sent: float = -math.inf, seen: float = 0.0) -> bool:
        """The backend refused a call for a limit, here or elsewhere; True if a cool-down begins by that.

        Args:
            asked: How many seconds it wants to be left alone, if it says so.
            now: Monotonic seconds.
            sent: When the call was sent, if here.
            seen: How many calls a second it answered lately; 0: unknown.
        """
        with self._lock:
            begins = self._cooldown.refused(asked, now)
            self._release.refused(sent, seen, now, now + self._cooldown.left(now))
            return begins

    def taken(self, ticket: Ticket, seen: float, now: float) -> None:
        """The backend answered the call; what the pace after a cool-down makes of it."""
        with self._lock:
            self._release.answered(ticket.at, seen, now)

    def answered(self, ticket: Ticket, usage: Usage, now: float) -> None:
        """The call was answered, at such a cost; where the backend does not say, what was taken stays taken."""
        with self._lock:
            self._cooldown.succeeded(ticket.generation)
            if usage.completion_tokens is not None:
                self.answer += (usage.completion_tokens - self.answer) * _LEARNING
            if usage.total_tokens is not None:
                self._correct(ticket, usage.total_tokens, now)

    def learn(self, ticket: Ticket, told: Iterable[Told], now: float) -> None:
        """The headers of the call's answer told so much."""
        with self._lock:
            if ticket.at < self._newest:
                return
            self._newest = ticket.at
            for limit in told:
                unseen = self._sent[limit.counts] - ticket.sent[limit.counts]
                bucket = pictured(limit, unseen, max(0.0, now - ticket.at), now)
                self._told[limit.name] = (bucket, now + self._longest)

    def _correct(self, ticket: Ticket, tokens: float, now: float) -> None:
        with self._lock:
            for bucket in self._own:
                if bucket.counts is Count.TOKENS:
                    unused = ticket.amounts[Count.TOKENS] - tokens
                    if unused > 0:
                        bucket.give(unused, ticket.at, now)
                    else:
                        bucket.take(-unused, now)

    def _buckets(self) -> list[Bucket]:
        pace = self._release.bucket
        return [*self._own, *(bucket for bucket, _ in self._told.values()), *([pace] if pace else ())]


def _longer(held: Held | None, bucket: Bucket, seconds: float) -> Held | None:
    return Held(seconds, bucket.name) if seconds > (held.seconds if held else 0.0) else held
