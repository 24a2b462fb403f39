"""The circuit breaker's state machine: asked before a call, told after it; no I/O, no clock, no randomness.

The rules of this file:

- Everything that moves a circuit is here; the moves themselves are the table `TRANSITIONS`.
- Every transition begins a new generation. A lease remembers the one that admitted it; a result that comes
  back to another is late and changes nothing.
- Each generation of a half-open circuit admits exactly one call, the probe.
- `_until` is the instant from which a call may enter: `ALWAYS` while calls pass freely, the end of the timer
  while open, the end of the lease while a probe is under way, `NEVER` while isolated.
- The lock is held around arithmetic only; whoever listens to transitions is told after it is released.

Precedents: generations and three-valued verdicts from gobreaker, the two trip rules from Finagle, rejections
that carry their cause from Polly. The lease is ours: there, a probe that never reports blocks the circuit.
"""

from __future__ import annotations

import math
from threading import RLock
from typing import TYPE_CHECKING

from resilient_llm.errors import CircuitOpenError

from .circuit_options import CircuitOptions
from .circuit_states import TRANSITIONS, Lease, State, Transition, Trigger
from .outcomes import Verdict
from .window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

ALWAYS, NEVER = -math.inf, math.inf


class Circuit:
    """One circuit: thread-safe, pure in `now` (monotonic seconds) and in the draws.

    Args:
        options: Thresholds and times.
        name: What messages call it.
        draw: Gives a number in [0, 1) for each opening's jitter, such as the `random` of a `random.Random`.
        on_transition: Told each transition, after the lock is released; must not raise. Two threads may tell
            theirs out of order; `Transition.generation` says which came first.
    """

    def __init__(
        self,
        options: CircuitOptions | None = None,
        *,
        name: str = "default",
        draw: Callable[[], float],
        on_transition: Callable[[Circuit, Transition], None] | None = None,
    ) -> None:
        self.options = options or CircuitOptions()
        self.name = name
        self._draw = draw
        self._tell = on_transition or (lambda _circuit, _transition: None)
        self._lock = RLock()  # a response may be collected, and settle, within
        self._window = Window(self.options.window)
        self._state = State.CLOSED
        self._generation = 0
        self._in_flight = 0
        self._failures = 0
        self._duration = self.options.timeout_duration
        self._until = ALWAYS
        self._error: BaseException | None = None
        self._reason = ""

    def __repr__(self) -> str:
        """The name and the state."""
        return f"<{type(self).__name__} {self.name!r} {self._state}, {self._failures} failures in a row>"

    @property
    def state(self) -> State:
        """Where it stands; open stays open after its timer until a call asks."""
        return self._state

    @property
    def generation(self) -> int:
        """How many transitions there were."""
        return self._generation

    @property
    def fail_counter(self) -> int:
        """Consecutive failures."""
        return self._failures

    @property
    def fail_max(self) -> int:
        """Consecutive failures that open the circuit."""
        return self.options.fail_max

    def spotless(self, now: float) -> bool:
        """May it be forgotten? Closed, no call under way, no failure within the window."""
        with self._lock:
            idle = self._state is State.CLOSED and not self._in_flight
            return idle and not self._window.totals(now).failures

    # Asked before a call ...

    def peek(self, now: float) -> None:
        """Look whether a call could enter, without claiming anything.

        Raises:
            CircuitOpenError: It could not.
        """
        if self._until > now:
            raise self._rejection(now) from self._error

    def enter(self, now: float, lease: float | None = None) -> Lease:
        """Claim the right to one call; it must be settled.

        Args:
            now: Monotonic seconds.
            lease: Seconds after which another probe may go should this call be one; None: the option's.

        Raises:
            CircuitOpenError: With `retry_after`, and the failure that opened the circuit as `__cause__`.
        """
        transition = None
        with self._lock:
            if self._until > now:
                raise self._rejection(now) from self._error
            probe = self._until != ALWAYS
            if probe:
                transition = self._go(Trigger.PROBE_SENT)
                self._until = now + (self.options.lease if lease is None else lease)
            self._in_flight += 1
            granted = Lease(self, self._generation, probe)
        if transition is not None:
            self._tell(self, transition)
        return granted

    def _rejection(self, now: float) -> CircuitOpenError:
        state, wait = self._state, self._until - now
        if state is not State.OPEN:  # how long the probe or the isolation lasts is anyone's guess
            wait = min(wait, self.options.timeout_duration)
        why = "a probe is under way" if state is State.HALF_OPEN else self._reason
        return CircuitOpenError(f"circuit {self.name!r} is {state}: {why}", retry_after=max(0.0, wait))

    # Told after it ...

    def settle(self, lease: Lease, verdict: Verdict, now: float, error: BaseException | None = None) -> None:
        """Account for a call's result; late results and second reports change nothing.

        Success and failure are counted, and decide a probe. Neutral neither breaks nor feeds a run of
        failures, and gives a probe's slot back.
        """
        draw = self._draw() if verdict is Verdict.FAILURE else 0.0
        with self._lock:
            if lease.settled:
                return
            lease.settled = True
            self._in_flight -= 1
            if lease.generation != self._generation:
                return
            account = self._decide if lease.probe else self._count
            transition = account(verdict, now, draw, error)
        if transition is not None:
            self._tell(self, transition)

    def confirm(self, lease: Lease) -> None:
        """Close the circuit on a probe that has proved the backend well but goes on, such as a stream.

        From then on the lease is an ordinary call of the closed circuit: should the stream break, it counts.
        Nothing changes for leases that are no probe, or late.
        """
        with self._lock:
            if not lease.probe or lease.generation != self._generation:
                return
            transition = self._pass(Trigger.PROBE_SUCCEEDED)
            lease.probe, lease.generation = False, self._generation
        self._tell(self, transition)

    def _decide(self, verdict: Verdict, now: float, draw: float, error: BaseException | None) -> Transition:
        """The probe's result."""
        if verdict is Verdict.SUCCESS:
            return self._pass(Trigger.PROBE_SUCCEEDED)
        if verdict is Verdict.NEUTRAL:
            self._until = now
            return self._go(Trigger.PROBE_RETURNED)
        self._failures += 1
        self._duration = min(self._duration * 2, self.options.max_timeout_duration)
        return self._stop(Trigger.PROBE_FAILED, now + self.options.spread(self._duration, draw), error)

    def _count(
        self, verdict: Verdict, now: float, draw: float, error: BaseException | None
    ) -> Transition | None:
        """An ordinary call's result."""
        if verdict is Verdict.SUCCESS:
            self._window.add(now, failed=False)
            self._failures = 0
        elif verdict is Verdict.FAILURE:
            self._window.add(now, failed=True)
            self._failures += 1
            reason = self.options.overrun(self._failures, self._window.totals(now))
            if reason is not None and self._state is State.CLOSED:
                until = now + self.options.spread(self._duration, draw)
                return self._stop(Trigger.TRIPPED, until, error, reason)
        return None

    # By hand ...

    def force_open(self, now: float) -> None:
        """Open it as if it had tripped: the timer runs, then a probe goes."""
        draw = self._draw()
        with self._lock:
            self._duration = self.options.timeout_duration
            transition = self._stop(Trigger.FORCED_OPEN, now + self.options.spread(self._duration, draw))
        self._tell(self, transition)

    def isolate(self) -> None:
        """Let nothing through until `reset`."""
        with self._lock:
            transition = self._stop(Trigger.ISOLATED, NEVER)
        self._tell(self, transition)

    def force_closed(self) -> None:
        """Let everything through until `reset`, whatever fails."""
        with self._lock:
            transition = self._pass(Trigger.FORCED_CLOSED)
        self._tell(self, transition)

    def reset(self) -> None:
        """Close it and forget every count; calls under way report late."""
        with self._lock:
            transition = self._pass(Trigger.RESET)
        self._tell(self, transition)

    # Moves ...

    def _go(self, trigger: Trigger, error: BaseException | None = None) -> Transition:
        old, self._state = self._state, TRANSITIONS[self._state, trigger]
        self._generation += 1
        return Transition(old, self._state, trigger, self._generation, error)

    def _stop(
        self, trigger: Trigger, until: float, error: BaseException | None = None, reason: str | None = None
    ) -> Transition:
        """Into a state that lets nothing through."""
        self._until, self._error, self._reason = until, error, reason or trigger
        return self._go(trigger, error)

    def _pass(self, trigger: Trigger) -> Transition:
        """Into a state that lets calls through, with a clean sheet."""
        self._window.clear()
        self._failures, self._duration = 0, self.options.timeout_duration
        self._until, self._error, self._reason = ALWAYS, None, ""
        return self._go(trigger)
