"""What stages ask of a state that several of them share, in one process or in many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from .policy.fleet import News, Portions, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Listener", "News", "Portions", "State", "Wanted"]


Listener: TypeAlias = "Callable[[News], None]"


@runtime_checkable
class State(Protocol):
    """Keeps what stages share: `MemoryState` in one process, `RedisState` in many.

    Operations, each atomic, with a field and: `claim` (lease in s); `open` (s, duration in s, epoch, why); `close` and
    `return` (epoch); `cool` (s); `spend` (amount, capacity). An epoch of 0 is that of whoever holds no claim.
    """

    @property
    def peers(self) -> int:
        """How many processes shared it when it was last heard of, at least 1."""
        ...

    @property
    def alone(self) -> bool:
        """Is it out of reach, so that everybody goes by what they know themselves?"""
        ...

    @property
    def gone(self) -> bool:
        """Has it been out of reach for longer than a moment?"""
        ...

    async def ready(self) -> None:
        """Wait for the first connection of the running loop, not for long; at once ever after."""
        ...

    async def ask(self, operation: str, field: str, *args: float | str, late: Listener) -> News | None:
        """Do something and hear what came of it; None: alone, or not in time. `late` hears what comes too late."""
        ...

    async def lease(self, wanted: Sequence[Wanted], late: Callable[[Portions], None]) -> Portions | None:
        """Take a portion of each limit, or of none; None as above."""
        ...

    def tell(self, operation: str, field: str, *args: float | str) -> None:
        """Have something done soon; returns at once."""
        ...

    def listen(self, prefix: str, hear: Listener, recall: Callable[[], None]) -> None:
        """Be told of all fields that begin so, and be asked to tell what one knows when it comes back; methods only.

        Both are held weakly, and must not raise.
        """
        ...

    async def aclose(self) -> None:
        """Send what is to be sent and let go of the connections; a later use connects again."""
        ...
