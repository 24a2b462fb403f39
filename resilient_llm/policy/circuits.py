"""Many circuits under keys, bounded: only what nobody would miss is forgotten."""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock
from typing import TYPE_CHECKING, Generic, TypeVar

from .circuit import Circuit

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

AnyCircuit = TypeVar("AnyCircuit", bound=Circuit)

_EXAMINED = 16
"""How many circuits a new one examines for eviction: its cost is bounded, and every circuit has its turn."""


class Circuits(Generic[AnyCircuit]):
    """Circuits by key, the least recently used ones evicted; thread-safe.

    Above the bound a new circuit evicts spotless ones (closed, idle, no failure in the window). Where there
    are none the bound is exceeded: protection is worth more than the memory of an open circuit, and the next
    new key tries again.

    Args:
        make: Makes the circuit for a key.
        bound: How many there may be, at least 1.
    """

    def __init__(self, make: Callable[[Hashable], AnyCircuit], bound: int) -> None:
        if bound < 1:
            msg = f"max_circuits must be 1 or more, not {bound!r}"
            raise ValueError(msg)
        self._make = make
        self._bound = bound
        self._standing: Callable[[AnyCircuit], None] | None = None
        self._lock = RLock()  # a response may be collected, and settle, within
        self._circuits: OrderedDict[Hashable, AnyCircuit] = OrderedDict()

    def find(self, key: Hashable) -> AnyCircuit | None:
        """The circuit under `key`, if there is one; its place in the queue for eviction stays."""
        return self._circuits.get(key)

    def get(self, key: Hashable, now: float) -> AnyCircuit:
        """The circuit under `key`, made at the first use."""
        circuit = self._circuits.get(key)
        if circuit is not None and len(self._circuits) == 1:
            return circuit  # most breakers have one, and there is no order to keep
        with self._lock:
            circuit = self._circuits.get(key)
            if circuit is not None:
                self._circuits.move_to_end(key)
                return circuit
        made = self._make(key)
        if self._standing is not None:
            self._standing(made)
        with self._lock:
            circuit = self._circuits.setdefault(key, made)
            self._evict(key, now)
        return circuit

    def snapshot(self) -> dict[Hashable, AnyCircuit]:
        """All circuits there are, the least recently used first."""
        with self._lock:
            return dict(self._circuits)

    def order(self, change: Callable[[AnyCircuit], None], keys: Sequence[Hashable], now: float) -> None:
        """Have `change` done to the circuits of `keys`; without any, to all there are."""
        for circuit in [self.get(key, now) for key in keys] if keys else self.snapshot().values():
            change(circuit)

    def order_to_come(self, change: Callable[[AnyCircuit], None] | None) -> None:
        """Have `change` done to every circuit that is made from now on; None: nothing."""
        self._standing = change

    def _evict(self, newest: Hashable, now: float) -> None:
        for _ in range(_EXAMINED):
            oldest = next(iter(self._circuits))
            if len(self._circuits) <= self._bound or oldest == newest:
                return
            if self._circuits[oldest].spotless(now):
                self._circuits.pop(oldest, None)
            else:
                self._circuits.move_to_end(oldest)
