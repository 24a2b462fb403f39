"""How long a probe may take, and when a streamed one has proved the backend well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient_llm.events import ContentSeen, Notice

if TYPE_CHECKING:
    from resilient_llm.models import Request
    from resilient_llm.policy.circuit_states import Lease

LEASE_MARGIN: Final = 5.0
"""Seconds that a probe has beyond the limit that should have ended it."""


def lease_for(request: Request, now: float, usual: float) -> float:
    """Seconds after which another probe may go: the call's own limit or deadline, and a little more."""
    limits = request.extensions
    limit = limits.get("attempt_timeout")
    if request.stream:
        limit = limits.get("first_token_timeout", limit)
    seconds = usual if limit is None else limit + LEASE_MARGIN
    if request.deadline is None:
        return seconds
    return min(seconds, max(0.0, request.deadline - now) + LEASE_MARGIN)


def confirm(lease: Lease, notice: Notice) -> None:
    """Observe a streamed probe: its first content on the wire is its success."""
    if type(notice) is ContentSeen:
        lease.confirm()
