"""How a breaker's circuits meet those of other processes.

The rules of this file:

- A circuit decides by itself, at once; only the probe of a half-open one is asked for, by one call at a time.
- Whoever claims reports: `moved` is told each transition, and passes on those that say something new.
- A report may be lost with a connection; who hears that its own probe is still waited for reports again.
- Orders by hand to isolate or force closed hold in their own process only.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final
from weakref import ref

from resilient_llm.policy.circuit_states import State, Trigger
from resilient_llm.policy.fleet import remember

if TYPE_CHECKING:
    from collections.abc import Hashable

    from resilient_llm.clock import Clock
    from resilient_llm.policy.aiobreaker_terms import KeyCircuit
    from resilient_llm.policy.circuit_states import Transition
    from resilient_llm.sharing import News
    from resilient_llm.sharing import State as SharedState

    from .circuit_breaker import CircuitBreaker

_TOLD: Final = {
    Trigger.TRIPPED: "open",
    Trigger.FORCED_OPEN: "open",
    Trigger.PROBE_FAILED: "open",
    Trigger.PROBE_SUCCEEDED: "close",
    Trigger.RESET: "close",
    Trigger.PROBE_RETURNED: "return",
}
_UNCLAIMED: Final = {Trigger.TRIPPED, Trigger.FORCED_OPEN, Trigger.RESET}


class SharedCircuits:
    """The circuits of one breaker under a scope of a state.

    Args:
        breaker: Whose circuits.
        state: Where they are shared.
        scope: What tells this backend from others there.
        clock: The breaker's.
    """

    def __init__(self, breaker: CircuitBreaker, state: SharedState, scope: str, clock: Clock) -> None:
        self.place = (state, scope)
        self._breaker = ref(breaker)  # which holds this
        self._state = state
        self._clock = clock
        self._prefix = f"circuit|{scope}|"
        self._keys: OrderedDict[str, Hashable] = OrderedDict()
        self._last: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._asking: dict[str, object] = {}
        state.listen(self._prefix, self.hear, self.recall)

    async def claim(self, circuit: KeyCircuit, seconds: float, now: float) -> float:
        """Before a call enters a circuit that is not closed: ask whether it may be the probe; gives the time after it.

        Raises:
            CircuitOpenError: Another call of this process is asking, or no answer came; it is not `gone` yet.
        """
        if self._state.gone or not circuit.due(now):
            return now
        field, mine = self._field(circuit), object()
        if self._asking.setdefault(field, mine) is not mine:
            raise circuit.probing()
        try:
            news = await self._state.ask("claim", field, seconds, late=self._unclaim)
            now = self._clock.monotonic()
            if news is None:
                raise circuit.probing()
            if news.word == "granted":
                circuit.granted(news.epoch)
            else:
                circuit.told(news, now)
        finally:
            del self._asking[field]
        return now

    def moved(self, circuit: KeyCircuit, transition: Transition) -> None:
        """Pass on what others should know."""
        operation = _TOLD.get(transition.trigger)
        if operation is None:
            return
        claim = 0 if transition.trigger in _UNCLAIMED else circuit.claim
        circuit.claim = 0
        remember(self._last, self._field(circuit), (operation, claim))
        self._report(circuit, operation, claim)

    def hear(self, news: News) -> None:
        """Take over what another process has found out; if it waits for what was reported already, report it again."""
        breaker = self._breaker()
        if breaker is None:
            return
        key = news.field.removeprefix(self._prefix)
        circuit = breaker.circuit(self._keys.get(key, key))
        operation, claim = self._last.get(news.field, ("", 0))
        if news.word == "held" and claim == news.epoch:
            self._report(circuit, operation, claim)
        else:
            circuit.told(news, self._clock.monotonic())

    def recall(self) -> None:
        """Report the circuits that are open here."""
        breaker = self._breaker()
        for circuit in breaker.circuits.values() if breaker is not None else ():
            if circuit.state is State.OPEN and not circuit.due(self._clock.monotonic()):
                self._report(circuit, "open", 0)

    def _report(self, circuit: KeyCircuit, operation: str, claim: int) -> None:
        field = self._field(circuit)
        if operation == "open":
            standing = circuit.standing(self._clock.monotonic())
            self._state.tell("open", field, standing.left, standing.duration, claim, standing.why)
        else:
            self._state.tell(operation, field, claim)

    def _unclaim(self, news: News) -> None:
        """The answer came after the call had gone on without it."""
        if news.word == "granted":
            self._state.tell("return", news.field, news.epoch)

    def _field(self, circuit: KeyCircuit) -> str:
        key = str(circuit.key)
        if key != circuit.key:
            remember(self._keys, key, circuit.key)
        return self._prefix + key
