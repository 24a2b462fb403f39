"""Refusals: any status, and a quota that is used up for a while."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import attrs

from resilient_llm.validators import non_negative, positive

from .faults import Answer, Fault

if TYPE_CHECKING:
    from .exchange import Exchange


@attrs.frozen(kw_only=True)
class Status:
    """Refuse with a status.

    Args:
        status: The status.
        body: Bytes or text as they are, a mapping as JSON.
        headers: More headers.
        latency: Seconds to the head.
    """

    status: int
    body: bytes | str | Mapping[str, object] = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    latency: float = attrs.field(default=0.0, validator=non_negative)

    @classmethod
    def rate_limited(cls, retry_after: float | None = None, *, latency: float = 0.0) -> Self:
        """Refuse with 429, and say when to come back: in whole seconds, and exactly in `retry-after-ms`."""
        headers = {} if retry_after is None else _come_back(retry_after)
        error = _error("Rate limit reached for requests", "requests", "rate_limit_exceeded")
        return cls(status=429, body=error, headers=headers, latency=latency)

    @classmethod
    def overloaded(cls, *, latency: float = 0.0) -> Self:
        """Refuse with 503: too many others."""
        error = _error("The engine is currently overloaded, please try again later", "server_error")
        return cls(status=503, body=error, latency=latency)

    @classmethod
    def failed(cls, *, latency: float = 0.0) -> Self:
        """Fail with 500."""
        error = _error("The server had an error while processing your request", "server_error")
        return cls(status=500, body=error, latency=latency)

    def __str__(self) -> str:
        """The status."""
        return str(self.status)

    async def play(self, exchange: Exchange, /) -> None:
        """Refuse."""
        body = self.body
        if isinstance(body, Mapping):
            body = json.dumps(dict(body))
        await exchange.pause(self.latency)
        await exchange.respond(self.status, body.encode() if isinstance(body, str) else body, self.headers)


def _come_back(seconds: float) -> dict[str, str]:
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


def _error(message: str, kind: str, code: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


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
