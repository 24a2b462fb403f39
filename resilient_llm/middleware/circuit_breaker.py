"""CircuitBreaker: stop calling a failing backend, and let one probe find out when it is well again."""

from __future__ import annotations

import logging
import random
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

import attrs

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.errors import CircuitOpenError, ErrorCode
from resilient_llm.logs import log
from resilient_llm.outcome import COMPLETED, Outcome, OutcomeKind
from resilient_llm.policy.aiobreaker_terms import Excluded, Exclusions, KeyCircuit, Terms, state_change
from resilient_llm.policy.circuit_options import CircuitOptions
from resilient_llm.policy.circuit_states import Lease, State, Transition
from resilient_llm.policy.circuits import Circuits
from resilient_llm.policy.outcomes import OUTCOMES, Row, Verdict, breaker_verdict

from .probe import confirm, lease_for
from .shared_circuits import SharedCircuits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
    from datetime import timedelta

    from aiobreaker import CircuitBreaker as AioBreaker
    from aiobreaker import CircuitBreakerListener

    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response
    from resilient_llm.sharing import State as SharedState


_logger = logging.getLogger("resilient_llm")


class CircuitBreaker:
    """Reject calls at once while their backend is failing; closed, open, half-open with exactly one probe.

    One breaker holds a circuit per key. A circuit opens after `fail_max` consecutive failures, or when
    `failure_ratio` of at least `minimum_calls` calls within `window` failed. Failures are errors that say so
    (`LLMError.backend_fault`); all others, and calls that their caller left, are neutral: they neither break
    nor feed a run of failures, and a probe that ends so gives its slot to the next call. A streamed probe
    closes the circuit with its first content; should the stream break later, that is one failure.

    Thread-safe: one breaker may serve clients on several event loops. Belongs inside the retry, and outside
    the attempt's timeout: it never sees a hang otherwise. After Nygard, "Release It!" (2007); generations as
    in gobreaker, the two ways to trip as in Finagle.

    Args:
        breaker: An existing `aiobreaker.CircuitBreaker` whose `fail_max`, `timeout_duration`, exclusions,
            name and listeners are taken over as they are now. Its call methods, clock and storage are not
            used.
        fail_max: Consecutive failures that open a circuit.
        timeout_duration: How long it stays open at first, in seconds or as a timedelta.
        failure_ratio: The share of failures that opens it, above 0 and at most 1.
        window: The seconds over which the ratio is taken.
        minimum_calls: Calls within the window below which the ratio means nothing.
        max_timeout_duration: Each failed probe doubles the time open, up to this many seconds.
        jitter: The share by which the time open varies.
        lease: Seconds after which a probe that has not reported is given up and another may go. A call's own
            limit (`attempt_timeout`, of a stream `first_token_timeout` if it says so) or deadline, plus 5 s,
            goes before it.
        key: Which circuit a request belongs to. Default: its model, as each target has a breaker of its own.
        outcomes: Which failures count, if not as in `resilient_llm.policy.outcomes.OUTCOMES`.
        exclude: Exception classes, and functions of an exception, whose matches are neutral.
        listeners: `aiobreaker.CircuitBreakerListener` objects, told of our circuits: `before_call(circuit,
            call_next, request)`, then `success` or `failure` unless neutral, and `state_change` with
            aiobreaker's state objects. One that raises is logged and changes nothing.
        name: The circuits' name in messages. Default: each one's key.
        clock: Time; only the monotonic one is read.
        rng: Where jitter comes from.
        max_circuits: How many circuits are kept. Above it those are forgotten that are closed, idle and
            without a failure in the window; where there are none it is exceeded.

    Raises:
        CircuitOpenError: Nothing was sent. `retry_after` says when to ask again, `__cause__` is the failure
            that opened the circuit (none if that was done by hand).
    """

    role = "breaker"

    def __init__(
        self,
        breaker: AioBreaker | None = None,
        *,
        fail_max: int = 5,
        timeout_duration: float | timedelta = 30.0,
        failure_ratio: float = 0.5,
        window: float = 120.0,
        minimum_calls: int = 10,
        max_timeout_duration: float = 300.0,
        jitter: float = 0.1,
        lease: float = 605.0,
        key: Callable[[Request], Hashable] = attrgetter("model"),
        outcomes: Mapping[ErrorCode, Row] = OUTCOMES,
        exclude: Iterable[Excluded] = (),
        listeners: Iterable[CircuitBreakerListener] = (),
        name: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        max_circuits: int = 1024,
    ) -> None:
        options = CircuitOptions(
            fail_max=fail_max,
            timeout_duration=timeout_duration,
            failure_ratio=failure_ratio,
            window=window,
            minimum_calls=minimum_calls,
            max_timeout_duration=max_timeout_duration,
            jitter=jitter,
            lease=lease,
        )
        terms = Terms(options, tuple(exclude), tuple(listeners), name).with_those_of(breaker)
        self.options, self.name, self.listeners = terms.options, terms.name, terms.listeners
        self._exclusions = Exclusions(terms.exclude)
        self._key, self._outcomes = key, outcomes
        self._clock = clock
        self._draw = (rng or random.Random()).random  # noqa: S311 - spreads load, guards nothing
        self._circuits = Circuits(self._make, max_circuits)
        self._shared: SharedCircuits | None = None

    def share(self, state: SharedState, scope: str) -> None:
        """Share the circuits with all who use the same scope of the state."""
        if self._shared is None or self._shared.place != (state, scope):
            self._shared = SharedCircuits(self, state, scope, self._clock)

    # Calling ...

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Claim the right to call, call, and account for the result, whole or streamed."""
        now = self._clock.monotonic()
        circuit = self._circuits.get(self._key(request), now)
        seconds = None if circuit.state is State.CLOSED else lease_for(request, now, self.options.lease)
        try:
            if seconds is not None and self._shared is not None:
                now = await self._shared.claim(circuit, seconds, now)
            lease = circuit.enter(now, seconds)
        except CircuitOpenError as error:
            error.model = request.model or None
            raise
        if self.listeners:
            self._tell("before_call", circuit, call_next, request)
        if lease.probe and request.stream:
            request = attrs.evolve(request, observers=(*request.observers, partial(confirm, lease)))
        try:  # as `observe` does, but a handler that raises before it awaits must give its lease back too
            response = await call_next(request)
        except BaseException as exc:
            self._account(lease, Outcome.of(exc))
            raise
        response.on_settle(self._account, lease)
        return response

    def peek(self, request: Request, call_next: Handler) -> Awaitable[Response]:
        """The look-only stage: reject what the breaker would, before it queues for quota."""
        circuit = self._circuits.find(self._key(request))
        if circuit is not None:
            try:
                circuit.peek(self._clock.monotonic())
            except CircuitOpenError as error:
                error.model = request.model or None
                raise
        return call_next(request)

    def _account(self, lease: Lease, outcome: Outcome) -> None:
        verdict = Verdict.SUCCESS if outcome is COMPLETED else self._verdict(outcome)
        lease.circuit.settle(lease, verdict, self._clock.monotonic(), outcome.error)
        if self.listeners and verdict is Verdict.SUCCESS:
            self._tell("success", lease.circuit)
        elif self.listeners and verdict is Verdict.FAILURE:
            self._tell("failure", lease.circuit, outcome.error)

    def _verdict(self, outcome: Outcome) -> Verdict:
        if outcome.kind is OutcomeKind.COMPLETED:
            return Verdict.SUCCESS
        error = outcome.error
        if error is None or breaker_verdict(error, self._outcomes) is not Verdict.FAILURE:
            return Verdict.NEUTRAL
        try:
            return Verdict.NEUTRAL if error in self._exclusions else Verdict.FAILURE
        except Exception:
            _logger.exception("a function in the circuit breaker's exclude raised; the error counts")
            return Verdict.FAILURE

    # Circuits ...

    @property
    def circuits(self) -> Mapping[Hashable, KeyCircuit]:
        """The circuits there are now, by key."""
        return self._circuits.snapshot()

    def circuit(self, key: Hashable) -> KeyCircuit:
        """The circuit of a key, made if there is none yet."""
        return self._circuits.get(key, self._clock.monotonic())

    def force_open(self, *keys: Hashable) -> None:
        """Open the circuits of these keys, or all there are, as if they had tripped: the timer runs."""
        now = self._clock.monotonic()
        self._circuits.order(lambda circuit: circuit.force_open(now), keys, now)

    def isolate(self, *keys: Hashable) -> None:
        """Let nothing through until `reset`: for these keys, or for all, those to come included."""
        self._order(KeyCircuit.isolate, keys)

    def force_closed(self, *keys: Hashable) -> None:
        """Let everything through until `reset`: for these keys, or for all, those to come included."""
        self._order(KeyCircuit.force_closed, keys)

    def reset(self, *keys: Hashable) -> None:
        """Close the circuits of these keys, or all, and forget their failures."""
        self._order(KeyCircuit.reset, keys)

    def _order(self, change: Callable[[KeyCircuit], None], keys: Sequence[Hashable]) -> None:
        if not keys:
            self._circuits.order_to_come(None if change is KeyCircuit.reset else change)
        self._circuits.order(change, keys, self._clock.monotonic())

    def _make(self, key: Hashable) -> KeyCircuit:
        name = self.name or str(key) or "default"
        return KeyCircuit(key, self.options, name=name, draw=self._draw, on_transition=self._moved)

    # Telling ...

    def _moved(self, circuit: KeyCircuit, transition: Transition) -> None:
        if self._shared is not None:
            self._shared.moved(circuit, transition)
        old, new, trigger = transition.old, transition.new, str(transition.trigger)
        if old is not new:
            level = logging.WARNING if new in {State.OPEN, State.ISOLATED} else logging.INFO
            log(level, "llm.circuit", name=circuit.name, old=str(old), new=str(new), trigger=trigger)
        states = state_change(circuit, transition)
        if states is not None:
            self._tell("state_change", circuit, *states)

    def _tell(self, what: str, *args: object) -> None:
        for listener in self.listeners:
            try:
                getattr(listener, what)(*args)
            except Exception:
                _logger.exception("%s of a circuit breaker's listener raised", what)
