"""The metrics of `Telemetry`: those of the conventions, and our own for what a stack does."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, WeakSet

from aiobreaker import CircuitBreakerListener
from opentelemetry.metrics import Observation

from resilient_llm.policy.circuit_states import State
from resilient_llm.wire.gen_ai import PROVIDER, REQUEST_MODEL

from .circuit_breaker import CircuitBreaker
from .retry import Retry
from .sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aiobreaker.state import CircuitBreakerBaseState
    from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter

    from resilient_llm.policy.aiobreaker_terms import KeyCircuit

SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The buckets that the conventions ask for."""

CIRCUIT: Final = "resilient_llm.circuit.name"
STATE: Final = "resilient_llm.circuit.state"


NAMESPACE: Final = "resilient_llm.state.namespace"


class Meters:
    """The instruments, and the stages that are looked at when metrics are read.

    Thread-safe. Stages are held weakly: those of a client that is gone are not reported.

    Args:
        meter: What makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self._lock = Lock()
        self._breakers: WeakKeyDictionary[CircuitBreaker, str] = WeakKeyDictionary()
        self._retries: WeakKeyDictionary[Retry, _Budget] = WeakKeyDictionary()
        self._sharing: WeakSet[Sharing] = WeakSet()
        self.duration = _histogram(
            meter, "gen_ai.client.operation.duration", "A call, from its start to its end."
        )
        self.first_chunk = _histogram(
            meter, "gen_ai.client.operation.time_to_first_chunk", "From a call's start to its first content."
        )
        self.tokens = _histogram(
            meter, "gen_ai.client.token.usage", "Tokens that calls cost.", "{token}", TOKENS
        )
        self.attempt = _histogram(meter, "resilient_llm.attempt.duration", "One attempt at a backend.")
        self.wait = _histogram(meter, "resilient_llm.wait.duration", "A wait before a backend is called.")
        counter = meter.create_counter
        self.retries = counter("resilient_llm.retries", "{attempt}", "Attempts after the first.")
        self.fallbacks = counter("resilient_llm.fallbacks", "{call}", "Calls passed on to another target.")
        self.pruned = counter("resilient_llm.pruned", "{token}", "Tokens dropped to make a prompt fit.")
        self._transitions = counter(
            "resilient_llm.circuit.transitions", "{transition}", "Changes of circuits."
        )
        gauge = meter.create_observable_gauge
        gauge(STATE, [self._states], "{circuit}", "1 for the state that a circuit is in, 0 for the others.")
        left = "resilient_llm.retry_budget.remaining"
        gauge(left, [self._budgets], "{token}", "What is left to pay retries from.")
        alone = "resilient_llm.state.alone"
        gauge(alone, [self._alone], "{process}", "1 while the shared state is out of reach, else 0.")

    def watch(self, stages: Sequence[object], backend: str) -> None:
        """Report circuits and retry budgets of these stages, and of the targets of a fallback among them."""
        for stage in stages:
            if isinstance(stage, CircuitBreaker):
                with self._lock:
                    known = stage in self._breakers
                    self._breakers[stage] = backend
                if not known:
                    stage.listeners = (*stage.listeners, _Listener(self._transitions, backend))
            elif isinstance(stage, Retry):
                with self._lock:
                    self._retries.setdefault(stage, _Budget(backend))
            elif isinstance(stage, Sharing):
                with self._lock:
                    self._sharing.add(stage)
            for target in getattr(stage, "opened", ()):
                self.watch(target.stages, target.target.name)

    def _states(self, _options: CallbackOptions) -> Iterator[Observation]:
        with self._lock:
            breakers = list(self._breakers.items())
        for breaker, backend in breakers:
            for circuit in breaker.circuits.values():
                of = {PROVIDER: backend, CIRCUIT: circuit.name}
                current = circuit.state
                for state in State:
                    yield Observation(int(state is current), {**of, STATE: str(state)})

    def _budgets(self, _options: CallbackOptions) -> Iterator[Observation]:
        with self._lock:
            retries = list(self._retries.items())
        for retry, known in retries:
            budget = retry.budget
            if budget is not None:
                known.models.update(map(str, budget.spent()))
                for model in sorted(known.models):
                    yield Observation(budget.tokens(model), {PROVIDER: known.backend, REQUEST_MODEL: model})

    def _alone(self, _options: CallbackOptions) -> Iterator[Observation]:
        with self._lock:
            shared = list(self._sharing)
        for stage in shared:
            yield Observation(int(stage.state.alone), {NAMESPACE: getattr(stage.state, "namespace", "")})


def _histogram(
    meter: Meter, name: str, description: str, unit: str = "s", buckets: Sequence[float] = SECONDS
) -> Histogram:
    return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=buckets)


class _Budget:
    """Whose budget it is, and for which models something was spent from it."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.models: set[str] = set()


class _Listener(CircuitBreakerListener):  # type: ignore[misc] # aiobreaker has no types
    """Counts the changes of a breaker's circuits."""

    def __init__(self, transitions: Counter, backend: str) -> None:
        self._transitions = transitions
        self._backend = backend

    def state_change(
        self, breaker: KeyCircuit, old: CircuitBreakerBaseState, new: CircuitBreakerBaseState
    ) -> None:
        """Count one."""
        del old, new
        of = {PROVIDER: self._backend, CIRCUIT: breaker.name, STATE: str(breaker.state)}
        self._transitions.add(1, of)
