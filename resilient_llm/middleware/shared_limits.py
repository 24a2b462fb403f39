"""How a rate limit meets those of other processes: cool-downs are told, portions of one's own limits are leased."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

from resilient_llm.policy.fleet import remember

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from resilient_llm.clock import Clock
    from resilient_llm.policy.buckets import Amounts
    from resilient_llm.sharing import News, Portions, State, Wanted

    from .gates import Gate, Gates


class SharedLimits:
    """The gates of one rate limit under a scope of a state.

    Args:
        gates: The gates.
        state: Where they are shared.
        scope: What tells this backend from others there.
        clock: The rate limit's.
    """

    def __init__(self, gates: Gates, state: State, scope: str, clock: Clock) -> None:
        self.place = (state, scope)
        self._gates = ref(gates)
        self._state = state
        self._clock = clock
        self._prefix = f"cool|{scope}|"
        self._scope = scope
        self._keys: OrderedDict[str, Hashable] = OrderedDict()
        state.listen(self._prefix, self.hear, self.recall)

    async def obtain(self, gate: Gate, key: Hashable, amounts: Amounts) -> None:
        """Lease what a call needs, if it is not here; returns at once where it is, or out of reach."""
        pace, now = gate.pace, self._clock.monotonic()
        pace.reach(self._state.peers, now, alone=self._state.alone)
        wanted = pace.wanted(amounts, now)
        if not wanted:
            return
        named = [_named(f"{self._scope}|{key}", want) for want in wanted]
        portions = await self._state.lease(named, partial(self._late, gate, wanted, now))
        if portions is None:
            pace.reach(self._state.peers, now, alone=True)
        else:
            pace.leased(wanted, portions, now, self._clock.monotonic())

    def cooling(self, key: Hashable, seconds: float) -> None:
        """A cool-down has begun here, or goes on for longer."""
        if str(key) != key:
            remember(self._keys, str(key), key)
        self._state.tell("cool", f"{self._prefix}{key}", seconds)

    def hear(self, news: News) -> None:
        """Hold back as long as others."""
        gates = self._gates()
        if gates is not None and news.word == "cool" and news.value > 0:
            now, key = self._clock.monotonic(), news.field.removeprefix(self._prefix)
            gates.limited(self._keys.get(key, key), news.value, now)

    def recall(self) -> None:
        """Report the cool-downs that are on here."""
        gates, now = self._gates(), self._clock.monotonic()
        for key, gate in gates.snapshot().items() if gates is not None else ():
            if left := gate.pace.cooling(now):
                self.cooling(key, left)

    def _late(self, gate: Gate, wanted: Sequence[Wanted], asked: float, portions: Portions) -> None:
        gate.pace.leased(wanted, portions, asked, self._clock.monotonic())


def _named(scope: str, want: Wanted) -> Wanted:
    return type(want)(
        f"{scope}|{want.name}|{want.slot:g}", want.allowance, want.slot, want.need, want.more, want.unused
    )
