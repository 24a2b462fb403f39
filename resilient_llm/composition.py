"""Which orders of stages cannot work, and what to change.

A stage says what it is by a class attribute `role`; stages without one (plain functions, other people's classes)
may stand anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class CompositionError(ValueError):
    """The stages of a pipeline are in an order that cannot work; the message says what to change."""


_SINGLE = {
    "retry": "two Retry stages multiply their attempts: keep one",
    "deadline": "two Deadline stages: keep the outer one",
    "token_budget": "two TokenBudget stages: keep one",
    "attempt_timeout": "two AttemptTimeout stages: keep one, or give a call its own limits",
    "classifier": "two ErrorClassifier stages: keep the innermost",
}

_OUTER_INNER = (
    ("retry", "breaker", "put Retry before CircuitBreaker, or one half-open probe becomes several requests"),
    ("retry", "peek", "put Retry before breaker.peek, or an opened circuit does not end the loop"),
    ("retry", "attempt_timeout", "put Retry before AttemptTimeout, which bounds a single attempt"),
    ("retry", "classifier", "put ErrorClassifier after Retry, which acts on classified errors"),
    ("breaker", "attempt_timeout", "put CircuitBreaker before AttemptTimeout, or it never sees a hang"),
    ("breaker", "classifier", "put ErrorClassifier after CircuitBreaker, which acts on classified errors"),
    (
        "attempt_timeout",
        "classifier",
        "put ErrorClassifier after AttemptTimeout: it belongs next to the transport",
    ),
    ("token_budget", "classifier", "put ErrorClassifier after TokenBudget, which acts on classified errors"),
    ("token_budget", "retry", "put TokenBudget before Retry, so that all attempts send the same"),
    ("deadline", "retry", "put Deadline before Retry, whose waits it bounds"),
    ("deadline", "attempt_timeout", "put Deadline before AttemptTimeout, which enforces what is left of it"),
    ("peek", "breaker", "put breaker.peek before the breaker: it looks without claiming"),
    ("classifier", "fault_injection", "put FaultInjection after ErrorClassifier, which judges its faults"),
)


def role_of(stage: object) -> str | None:
    """What a stage is, or None if it does not say."""
    owner = getattr(stage, "__self__", None)
    if owner is not None and getattr(owner, "role", None) == "breaker":
        return "peek"
    role = getattr(stage, "role", None)
    return role if isinstance(role, str) else None


def check(middleware: Sequence[object]) -> None:
    """Reject an order that cannot work.

    Raises:
        CompositionError: Naming the first thing to change.
        TypeError: A stage cannot be called.
    """
    for stage in middleware:
        if not callable(stage) or isinstance(stage, type):
            msg = f"{stage!r} is no stage: a stage is an instance with __call__, or an async function"
            raise TypeError(msg)
    roles = [role_of(stage) for stage in middleware]
    for role, why in _SINGLE.items():
        if roles.count(role) > 1:
            raise CompositionError(why)
    for outer, inner, why in _OUTER_INNER:
        if outer in roles and inner in roles and roles.index(inner) < _last(roles, outer):
            raise CompositionError(why)
    breakers = [stage for stage, role in zip(middleware, roles, strict=True) if role == "breaker"]
    for stage in middleware:
        if role_of(stage) == "peek" and not any(
            getattr(stage, "__self__", None) is breaker for breaker in breakers
        ):
            msg = "peek belongs to another breaker: use the peek of the CircuitBreaker in the same stack"
            raise CompositionError(msg)


def _last(roles: Sequence[str | None], role: str) -> int:
    return max(place for place, found in enumerate(roles) if found == role)
