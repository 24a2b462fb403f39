"""FaultInjection: the innermost stage; everything above takes its faults for real."""

from __future__ import annotations

import itertools
import logging
import random
from typing import TYPE_CHECKING, Final, TypeAlias

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.errors import ErrorCode
from resilient_llm.logs import log
from resilient_llm.policy.fault_plan import FaultPlan, Latency

from .injected import Injected, inject, injectable, word_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response

USUAL: Final = (
    ErrorCode.MODEL_RATE_LIMITED,
    ErrorCode.MODEL_OVERLOADED,
    ErrorCode.MODEL_UNAVAILABLE,
    ErrorCode.MODEL_RESPONSE_INVALID,
)

SHOWN: Final = 8
"""How many faults of a script the repr names."""

FaultScript: TypeAlias = "Sequence[Injected] | Callable[[Request, int], Injected]"
"""A fault for each call in turn, the last one for all that follow; or a function of the request and its number."""


def _all(_request: Request) -> bool:
    return True


class FaultInjection:
    """Let calls fail: by chance that can be repeated, or by a script.

    Belongs after `ErrorClassifier`, next to the transport: each attempt is a call here, and all stages do with a
    fault what they would do with a real one. What can be injected, in `errors` and `script` alike:

    - an `ErrorCode`, or an exception of one's own (`ModelRateLimitedError("slow down", retry_after=2)`);
    - `Status`, `Reset`, `Garbage` of `resilient_llm.testing`: what a transport makes of such an answer;
    - `Cut(after=3)`, `ErrorEvent(after=3)`, `Stall(after=3)`: the backend is called, and its stream breaks off, tells
      an error, or falls silent after three pieces at most; a whole answer is cut, or does not come at all;
    - `Answer(latency=1, interval=0.1)`: the backend's own answer, late, and a stream of it slow;
    - a text, or a list of events, errors and seconds, as `ScriptedTransport` takes them: that instead of its answer;
    - None: nothing.

    Same seed, same faults: what a call meets follows from the seed and its number in order of arrival alone.

    Args:
        rate: The share of calls that meet one of `errors`, from 0 to 1.
        errors: What they meet, each as often as the others. Default: the codes that a backend in trouble gives.
        script: Instead of both, what happens to each call in turn, the last for all that follow; or a function of the
            request and its number, from 1.
        latency: Seconds by which each call is held up first: a number, a pair of bounds, or a function of a
            `random.Random`.
        when: Which requests it is for; others pass uncounted. Default: all.
        seed: Another seed, other faults. Default: one by chance, which the repr shows.
        clock: Time.

    Attributes:
        enabled: Set it to False to let all calls pass, uncounted, until it is True again.

    Raises:
        TypeError: Something cannot be injected; the message says what can.
        ValueError: An option is out of range.
    """

    role = "fault_injection"

    def __init__(
        self,
        *,
        rate: float = 0.0,
        errors: Sequence[Injected] = USUAL,
        script: FaultScript = (),
        latency: Latency = 0.0,
        when: Callable[[Request], bool] = _all,
        seed: int | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.plan: FaultPlan[Injected] = FaultPlan(
            rate=rate,
            faults=[injectable(fault) for fault in errors],
            script=() if callable(script) else [injectable(fault) for fault in script],
            latency=latency,
        )
        self.seed = random.getrandbits(32) if seed is None else seed
        self.enabled = True
        self._script = script if callable(script) else None
        self._when = when
        self._clock = clock
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        """Whether it is on, and what it does."""
        return f"<FaultInjection {'on' if self.enabled else 'off'}: {self._words()}>"

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Hold the call up, and do to it what is to happen."""
        if not self.enabled or not self._when(request):
            return await call_next(request)
        number = next(self._numbers)
        if number == 1:
            log(logging.WARNING, "llm.fault_injection", doing=self._words())
        chance = random.Random(f"{self.seed}:{number}")  # noqa: S311 - repeatable on purpose
        fault = self._fault(request, number, chance)
        if fault is not None:
            log(logging.INFO, "llm.fault", number=number, fault=word_for(fault))
        if seconds := self.plan.seconds(chance):
            await self._clock.sleep(seconds)
        return await inject(fault, request, call_next, self._clock)

    def _fault(self, request: Request, number: int, chance: random.Random) -> Injected:
        if self._script is not None:
            return injectable(self._script(request, number))
        return self.plan.fault(number, chance)

    def _words(self) -> str:
        plan = self.plan
        if self._script is not None:
            what = "a script"
        elif plan.script:
            what = ", ".join(map(word_for, plan.script[:SHOWN])) + (
                ", ..." if len(plan.script) > SHOWN else ""
            )
        else:
            what = f"{plan.rate:.0%} of " + ", ".join(map(word_for, plan.faults))
        return f"{what}; latency {plan.latency}; seed {self.seed}"
