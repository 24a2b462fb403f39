"""Refusals: any status, and a quota that is used up for a while."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import attrs

from resilient_llm.validators import non_negative, positive

from .faults import Answer, Fault
from .words import status_of

if TYPE_CHECKING:
    from .exchange import Exchange
    from .words import Reason


@attrs.frozen
class Status:
    """Refuse with a status.

    Args:
        status: The status; or a reason, for the status and the words that the backend has for it.
        body: Bytes or text as they are, a mapping as JSON; None: what the backend says with this status.
        headers: More headers.
        latency: Seconds to the head.
    """

    status: int | Reason
    body: bytes | str | Mapping[str, object] | None = attrs.field(default=None, kw_only=True)
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    latency: float = attrs.field(default=0.0, validator=non_negative, kw_only=True)

    @classmethod
    def rate_limited(cls, retry_after: float | None = None, *, latency: float = 0.0) -> Self:
        """Refuse with 429, and say when to come back: in whole seconds, and exactly in `retry-after-ms`."""
        headers = {} if retry_after is None else _come_back(retry_after)
        return cls("rate_limited", headers=headers, latency=latency)

    @classmethod
    def overloaded(cls, *, latency: float = 0.0) -> Self:
        """Refuse with 503, or Anthropic's 529: too many others."""
        return cls("overloaded", latency=latency)

    @classmethod
    def failed(cls, *, latency: float = 0.0) -> Self:
        """Fail with 500."""
        return cls("failed", latency=latency)

    def __str__(self) -> str:
        """The status; OpenAI's, if a reason was given."""
        return str(self.status if isinstance(self.status, int) else status_of(self.status))

    async def play(self, exchange: Exchange, /) -> None:
        """Refuse."""
        status, own = exchange.refusal(self.status)
        body = self.body
        if isinstance(body, Mapping):
            body = json.dumps(dict(body))
        elif body is None:
            body = own
        await exchange.pause(self.latency)
        await exchange.respond(status, body.encode() if isinstance(body, str) else body, self.headers)


def _come_back(seconds: float) -> dict[str, str]:
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


@attrs.frozen(kw_only=True)
class Throttle:
    """Behave like a quota that others have used up: refuse for a part of each period, and say when it ends.

    The periods begin with the schedule, so that the verdict depends on the time alone.

    Args:
        refuse: Seconds at the beginning of each period for which requests are refused with 429; `Retry-After`
            tells what is left of them.
        period: Seconds, more than `refuse`.
        otherwise: What happens to the others.
    """

    refuse: float = attrs.field(validator=positive)
    period: float = attrs.field(validator=positive)
    otherwise: Fault = attrs.field(factory=Answer)

    def __attrs_post_init__(self) -> None:
        """Check the two times against each other."""
        if self.refuse >= self.period:
            msg = f"refuse must be less than period ({self.period!r}), not {self.refuse!r}"
            raise ValueError(msg)

    def __str__(self) -> str:
        """The word for it."""
        return "throttle"

    async def play(self, exchange: Exchange, /) -> None:
        """Refuse or let through."""
        left = self.refuse - exchange.request.at % self.period
        await exchange.play(Status.rate_limited(left) if left > 0 else self.otherwise)
