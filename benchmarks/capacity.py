"""A backend that can be overloaded: one queue, so much work a second, and troubles at set times. Pure in `now`.

The rules of this file:

- Work that was begun is done, whether or not anybody still waits for it: a request that times out costs as much as
  one that is answered. That is what makes overload last.
- All is known when a request arrives: what it waits for is the work before it. So the same model stands behind a
  simulation, a transport, and a server with sockets.
- Under a long queue each request costs more (`thrash`), and one that would wait for too long is refused; that costs
  something, too.

The failure that outlives its cause: Bronson et al., "Metastable Failures in Distributed Systems" (HotOS 2021).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import NamedTuple

import attrs

ANSWER, OVERLOADED, UNAVAILABLE, LIMITED = "answer", "overloaded", "unavailable", "limited"


GOLDEN = (math.sqrt(5) - 1) / 2
"""Its multiples are spread evenly, whatever their number: chance that needs no generator."""


class Reply(NamedTuple):
    """What becomes of a request: the kind of reply, and when it comes."""

    kind: str
    at: float


@attrs.frozen
class Spell:
    """A time during which the backend is not as usual.

    Args:
        begins: Seconds.
        ends: Seconds.
        speed: The share of its capacity that is left; 0: it is down, and refuses connections.
        limit: Requests a second that are let in, the rest is refused with 429; None: no limit.
        slow: The share of requests that take the incident's `delay` longer, without holding up others.
    """

    begins: float
    ends: float
    speed: float = 1.0
    limit: float | None = None
    slow: float = 0.0


@attrs.frozen(kw_only=True)
class Incident:
    """What happens to a backend. Times in seconds, work in requests.

    Args:
        name: What to call it.
        text: What happens, in a sentence.
        spells: The troubles, in order, that do not overlap.
        capacity: Requests a second.
        length: How long calls come in.
        latency: What an answer takes at least.
        queue: What would wait for longer is refused.
        thrash: By how much a request costs more when the queue is full, as a share.
        refusal: What a refusal costs, as a share of an answer.
        asks: What a 429 asks to wait for.
        delay: What answers of a tail take longer.
        hiccups: The share of requests that fail although all is well.
    """

    name: str
    text: str
    spells: tuple[Spell, ...]
    capacity: float
    length: float
    latency: float = 0.5
    queue: float = 30.0
    thrash: float = 0.0
    refusal: float = 0.05
    asks: float | None = None
    delay: float = 0.0
    hiccups: float = 0.0

    @property
    def ends(self) -> float:
        """When the backend itself is well again."""
        return max(spell.ends for spell in self.spells)


class Work:
    """How much work can have been done by when: grows with the capacity there is."""

    def __init__(self, capacity: float, spells: Sequence[Spell]) -> None:
        self._times, self._done, self._speeds = [0.0], [0.0], [capacity]
        for spell in spells:
            self._turn(spell.begins, capacity * spell.speed)
            self._turn(spell.ends, capacity)

    def _turn(self, at: float, speed: float) -> None:
        self._done.append(self.by(at))
        self._times.append(at)
        self._speeds.append(speed)

    def by(self, at: float) -> float:
        """What can be done by an instant."""
        place = bisect.bisect_right(self._times, at) - 1
        return self._done[place] + (at - self._times[place]) * self._speeds[place]

    def when(self, done: float) -> float:
        """When so much can be done."""
        place = bisect.bisect_right(self._done, done) - 1
        speed = self._speeds[place]
        return self._times[place] + (done - self._done[place]) / speed if speed else math.inf


class Backend:
    """A backend in an incident.

    Attributes:
        requests: How many came.
        work: How much was done, or is to be done, for them.
    """

    def __init__(self, incident: Incident) -> None:
        self.incident = incident
        self.requests = 0
        self.work = 0.0
        self._can = Work(incident.capacity, incident.spells)
        self._promised = 0.0
        self._allowance, self._asked = 0.0, 0.0

    def arrive(self, now: float) -> Reply:
        """A request comes: what becomes of it. `now` must not go back."""
        self.requests += 1
        incident = self.incident
        spell = next((spell for spell in incident.spells if spell.begins <= now < spell.ends), None)
        if spell is not None and not spell.speed:
            return Reply(UNAVAILABLE, now)
        self._promised = max(self._promised, self._can.by(now))
        if spell is not None and spell.limit is not None and not self._allowed(spell, now):
            self._do(incident.refusal)
            return Reply(LIMITED, now)
        waits = self._can.when(self._promised) - now
        if waits > incident.queue or self.requests * GOLDEN % 1 < incident.hiccups:
            self._do(incident.refusal)
            return Reply(OVERLOADED, now)
        self._do(1 + incident.thrash * waits / incident.queue)
        done = self._can.when(self._promised) + incident.latency
        if spell is not None and self.requests * GOLDEN % 1 < spell.slow:
            done += incident.delay
        lost = next(
            (other for other in incident.spells if not other.speed and now < other.begins < done), None
        )
        if lost is not None:
            return Reply(UNAVAILABLE, lost.begins)
        return Reply(ANSWER, done)

    def _do(self, work: float) -> None:
        self._promised += work
        self.work += work

    def _allowed(self, spell: Spell, now: float) -> bool:
        since = now - max(self._asked, spell.begins)
        self._allowance = min(max(1.0, spell.limit), self._allowance + since * spell.limit)
        self._asked = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True
