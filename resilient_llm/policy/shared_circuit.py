"""A circuit that takes over what others have found out; no I/O, no clock, no randomness.

The rules of this file:

- News of an older change than the newest known changes nothing, nor do news of one's own claim.
- A circuit that was moved by hand stays where it is.
- A probe of another process looks like an open circuit here, until its lease ends or news come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from resilient_llm.errors import CircuitOpenError

from .circuit import Circuit
from .circuit_states import TRANSITIONS, State, Transition, Trigger

if TYPE_CHECKING:
    from .fleet import News

ELSEWHERE = "told by another process"


@attrs.frozen
class Standing:
    """What there is to report of a circuit: seconds until a probe may go, seconds it was opened for, and why."""

    left: float
    duration: float
    why: str


class SharedCircuit(Circuit):
    """A circuit with what it takes to share it.

    Attributes:
        claim: The epoch of the claim under which its probe was sent; 0: without one.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.claim = 0
        self._known = 0

    def due(self, now: float) -> bool:
        """Would the next call be the probe?"""
        return self._state in {State.OPEN, State.HALF_OPEN} and self._until <= now

    def standing(self, now: float) -> Standing:
        """What to report."""
        return Standing(
            max(0.0, self._until - now), self._duration, self._reason.removesuffix(f" ({ELSEWHERE})")
        )

    def probing(self) -> CircuitOpenError:
        """What a call gets while another one asks for the probe."""
        why = f"circuit {self.name!r} is {self._state}: a probe is under way"
        return CircuitOpenError(why, retry_after=self.options.timeout_duration)

    def granted(self, epoch: int) -> None:
        """The next call goes as the probe of all."""
        self.claim = self._known = epoch

    def told(self, news: News, now: float) -> None:
        """Take over what is known elsewhere."""
        with self._lock:
            if news.epoch < self._known or (news.epoch == self.claim and self.claim):
                return
            self._known = news.epoch
            transition = self._adopt(news, now) if (self._state, Trigger.TOLD_OPEN) in TRANSITIONS else None
        if transition is not None:
            self._tell(self, transition)

    def _adopt(self, news: News, now: float) -> Transition | None:
        if news.word == "closed":
            return None if self._state is State.CLOSED else self._pass(Trigger.TOLD_CLOSED)
        if news.word not in {"open", "held"}:
            return None
        until = now + news.value
        self._duration = max(news.duration, self.options.timeout_duration)
        if self._state is State.OPEN:
            self._until = until
            return None
        why = "a probe is under way" if news.word == "held" else news.why
        return self._stop(Trigger.TOLD_OPEN, until, reason=f"{why} ({ELSEWHERE})")
