"""What a transport hands over, and what bounds the reading of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .errors import LLMError
    from .events import Event


@attrs.define
class ResponseInfo:
    """What a transport knows of the answer beside its content; filled in as it becomes known.

    Attributes:
        extra: What the assistant's message carries beside text and calls; see `Completion`.
        cached: Did the answer come out of a cache, without a call?
        resumes: Does this backend with this model go on with an answer from its beginning (a prefill), and does this
            answer, if its request said `resume_from`? Nothing by guess: what is not known for certain is False.
    """

    backend: str = ""
    model: str = ""
    request_id: str | None = None
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    extra: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    resumes: bool = False
    cached: bool = False


class Body(Protocol):
    """What a transport hands over: events in batches, as they come off the wire."""

    @property
    def info(self) -> ResponseInfo:
        """What is known of the answer beside its content."""
        ...

    async def receive(self) -> list[Event]:
        """The next events, in order; possibly none. The very last is `Finish`; a body that ends without one raises."""
        ...

    def close(self) -> None:
        """Give the connection back, or drop it if the body was not read to its end. Plain, and safe to repeat."""
        ...


class Ended:
    """The body of an answer that came in one piece: nothing is left to be read or closed."""

    def __init__(self, info: ResponseInfo) -> None:
        self.info = info

    async def receive(self) -> list[Event]:
        """Nothing more."""
        return []

    def close(self) -> None:
        """Nothing is open."""


class Limit(Protocol):
    """A bound on the time that one pull may take; set by `AttemptTimeout`.

    Attributes:
        deadline: The instant, in the clock's monotonic seconds, that it keeps to, too; None: no such. May be changed.
    """

    deadline: float | None

    def seconds(self) -> float | None:
        """How long the pull that starts now may take."""
        ...

    def error(self) -> LLMError:
        """What to raise when it took longer."""
        ...


def tightest(limits: Sequence[Limit]) -> tuple[float | None, Limit | None]:
    """The least time that the limits allow now, and which one it is; None twice if none bounds it."""
    least, chosen = None, None
    for limit in limits:
        seconds = limit.seconds()
        if seconds is not None and (least is None or seconds < least):
            least, chosen = seconds, limit
    return least, chosen
