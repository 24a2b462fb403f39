"""What a transport hands over, and what bounds the reading of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .errors import LLMError
    from .events import Event


@attrs.define
class ResponseInfo:
    """What a transport knows of the answer beside its content; filled in as it becomes known."""

    backend: str = ""
    model: str = ""
    request_id: str | None = None
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)


class Body(Protocol):
    """What a transport hands over: events in batches, as they come off the wire."""

    info: ResponseInfo

    async def receive(self) -> list[Event]:
        """The next events, in order; possibly none. The very last is `Finish`; a body that ends without one raises."""
        ...

    def close(self) -> None:
        """Give the connection back, or drop it if the body was not read to its end. Plain, and safe to repeat."""
        ...


class Limit(Protocol):
    """A bound on the time that one pull may take; set by `AttemptTimeout`."""

    def seconds(self) -> float | None:
        """How long the pull that starts now may take."""
        ...

    def error(self) -> LLMError:
        """What to raise when it took longer."""
        ...


def tightest(limits: Iterable[Limit]) -> tuple[float, Limit | None]:
    """The limit that allows the least time now, and that time; none of them bounding it: infinity and None."""
    least, chosen = math.inf, None
    for limit in limits:
        seconds = limit.seconds()
        if seconds is not None and seconds < least:
            least, chosen = seconds, limit
    return least, chosen
