"""The three ways in which a response ends, and how a stage accounts for them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .response import Response


class OutcomeKind(StrEnum):
    """The three ways in which a response ends: `completed`, `failed` or `abandoned`."""

    COMPLETED = "completed"
    """The final event was received."""
    FAILED = "failed"
    """An error ended it."""
    ABANDONED = "abandoned"
    """It was closed early, cancelled or dropped: that says nothing about the backend."""


@attrs.frozen
class Outcome:
    """How a response ended: completed, failed with an error, or abandoned by its caller.

    Args:
        kind: Which of the three.
        error: What a failed one failed with; of an abandoned one the cancellation, if there was one.
    """

    kind: OutcomeKind
    error: BaseException | None = None

    @classmethod
    def of(cls, error: BaseException) -> Outcome:
        """Judge by what was raised: an error, or a cancellation (anything that is no `Exception`)."""
        kind = OutcomeKind.FAILED if isinstance(error, Exception) else OutcomeKind.ABANDONED
        return cls(kind, error)


COMPLETED = Outcome(OutcomeKind.COMPLETED)
ABANDONED = Outcome(OutcomeKind.ABANDONED)


async def observe(call: Awaitable[Response], account: Callable[[Outcome], None]) -> Response:
    """Await a call and have `account` told exactly once how it ended, whole or streamed.

    Accounting stages are two lines with it::

        lease = circuit.enter(now)
        return await observe(call_next(request), lease.settle)
    """
    try:
        response = await call
    except BaseException as exc:
        account(Outcome.of(exc))
        raise
    response.on_settle(account)
    return response
