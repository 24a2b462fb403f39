"""What happened: written while the demo plays, read by whoever shows it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs
from aiobreaker import CircuitBreakerListener

from resilient_llm.errors import ErrorCode
from resilient_llm.events import Notice, Waiting
from resilient_llm.models import Attempt, PruneReport

if TYPE_CHECKING:
    from resilient_llm.clock import Clock
    from resilient_llm.testing import SeenRequest

    from .plan import Call, Plan

UNNOTICED = "broken answer, unnoticed"
"""Not an error that was raised: half an answer was handed over as if it were whole."""


@attrs.frozen
class Result:
    """How a call ended.

    Args:
        call: The call.
        ended: When, in seconds since the beginning.
        error: What went wrong, as one would name it; None if the whole answer came.
        healed: Did it need more than one attempt because the backend failed?
    """

    call: Call
    ended: float
    error: str | None = None
    healed: bool = False


@attrs.define
class Lane:
    """One client's calls."""

    name: str
    started: int = 0
    results: list[Result] = attrs.field(factory=list)
    requests: list[SeenRequest] = attrs.field(factory=list)
    """What its backend saw."""

    @property
    def succeeded(self) -> int:
        """Calls that brought the whole answer."""
        return sum(1 for result in self.results if result.error is None)

    @property
    def errors(self) -> Counter[str]:
        """What went wrong, most frequent first."""
        found = Counter(result.error for result in self.results if result.error is not None)
        return Counter(dict(found.most_common()))


@attrs.define
class Stages:
    """What the stages did, by their own account."""

    retries: int = 0
    waited: float = 0.0
    told_to_wait: int = 0
    held: int = 0
    held_for: float = 0.0
    pruned_calls: int = 0
    pruned_tokens: int = 0
    failures: Counter[str] = attrs.field(factory=Counter)
    """Failed attempts by code."""

    def notice(self, notice: Notice) -> None:
        """Take note; an observer of the client."""
        if isinstance(notice, Waiting) and notice.error.local:
            self.held += 1
            self.held_for += notice.seconds
        elif isinstance(notice, Waiting):
            self.retries += 1
            self.waited += notice.seconds
            self.told_to_wait += notice.error.retry_after is not None
        elif isinstance(notice, PruneReport):
            self.pruned_calls += 1
            self.pruned_tokens += notice.tokens_before - notice.tokens_after
        elif isinstance(notice, Attempt) and notice.error is not None and not notice.error.local:
            self.failures[notice.error.code] += 1


class Moves(CircuitBreakerListener):  # type: ignore[misc] # aiobreaker is untyped
    """The circuit's states over time; a listener of the breaker."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def state_change(self, breaker: object, old: object, new: object) -> None:  # noqa: ARG002 - aiobreaker's signature
        """Take note."""
        self._tally.circuit.append((self._tally.elapsed, new.state.name.lower()))  # type: ignore[attr-defined]


@attrs.define
class Tally:
    """All that is known so far."""

    plan: Plan
    clock: Clock
    began: float | None = None
    over: float | None = None
    bare: Lane = attrs.field(factory=lambda: Lane("bare client"))
    stack: Lane = attrs.field(factory=lambda: Lane("standard stack"))
    stages: Stages = attrs.field(factory=Stages)
    circuit: list[tuple[float, str]] = attrs.field(factory=list)

    @property
    def elapsed(self) -> float:
        """Seconds since the first call could be made, as long as the demo runs."""
        if self.began is None:
            return 0.0
        return (self.clock.monotonic() if self.over is None else self.over) - self.began

    @property
    def healed(self) -> int:
        """Calls that the retry saved."""
        return sum(1 for result in self.stack.results if result.healed)

    @property
    def rejected(self) -> int:
        """Calls that an open circuit answered."""
        return self.stack.errors[ErrorCode.CIRCUIT_OPEN]
