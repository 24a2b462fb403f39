"""Which orders of stages cannot work, and what to change.

A stage says what it is by a class attribute `role`; stages without one (plain functions, other people's classes)
may stand anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CompositionError(ValueError):
    """The stages of a pipeline are in an order that cannot work; the message says what to change."""


_SINGLE = {
    "retry": "two Retry stages multiply their attempts: keep one",
    "telemetry": "two Telemetry stages tell of each call twice: keep one",
    "deadline": "two Deadline stages: keep the outer one",
    "recovery": "two StreamRecovery stages multiply their restarts: keep one",
    "fallback": "two Fallback stages: keep one, and give it all targets in order",
    "cache": "two Cache stages: keep the outer one",
    "coalesce": "two Coalesce stages: keep the outer one",
    "token_budget": "two TokenBudget stages: keep one",
    "rate_limit": "two RateLimit stages count each attempt twice: keep one",
    "concurrency": "two ConcurrencyLimit stages: keep the tighter one",
    "attempt_timeout": "two AttemptTimeout stages: keep one, or give a call its own limits",
    "classifier": "two ErrorClassifier stages: keep the innermost",
}

_ACTS_ON_ERRORS = "ErrorClassifier after {}, which acts on classified errors"
_RULES: Mapping[tuple[str, str], str] = {
    (
        "telemetry",
        "deadline",
    ): "Telemetry before Deadline, or a deadline that passes looks like a caller who left",
    ("telemetry", "recovery"): "Telemetry before StreamRecovery, whose restarts are part of one call",
    ("telemetry", "fallback"): "Telemetry before Fallback, whose targets are part of one call",
    ("telemetry", "cache"): "Telemetry before Cache, whose answers are calls, too",
    ("telemetry", "coalesce"): "Telemetry before Coalesce: who joins a call makes one",
    ("telemetry", "retry"): "Telemetry before Retry, or each attempt is told as a call",
    ("deadline", "recovery"): "Deadline before StreamRecovery, whose restarts it bounds",
    ("deadline", "fallback"): "Deadline before Fallback, whose targets share what is left of it",
    ("deadline", "retry"): "Deadline before Retry, whose waits it bounds",
    ("deadline", "rate_limit"): "Deadline before RateLimit, whose waits it bounds",
    ("deadline", "concurrency"): "Deadline before ConcurrencyLimit, whose queue it bounds",
    ("deadline", "attempt_timeout"): "Deadline before AttemptTimeout, which enforces what is left of it",
    ("recovery", "fallback"): "StreamRecovery before Fallback, or it stays with the target that broke",
    ("recovery", "cache"): "StreamRecovery before Cache, which keeps no answer that was restarted or resumed",
    ("recovery", "retry"): "StreamRecovery before Retry, which judges and pays for what is repeated",
    ("recovery", "breaker"): "StreamRecovery before CircuitBreaker, which counts each stream by itself",
    ("recovery", "attempt_timeout"): "StreamRecovery before AttemptTimeout, which bounds a single attempt",
    ("fallback", "token_budget"): "Fallback before TokenBudget: each target has a window of its own",
    ("fallback", "retry"): "Fallback before Retry, or each retry begins with the first target again",
    ("fallback", "peek"): "Fallback before breaker.peek, or it never hears of an open circuit",
    ("fallback", "rate_limit"): "Fallback before RateLimit: each target has limits of its own",
    ("fallback", "concurrency"): "Fallback before ConcurrencyLimit: each target has limits of its own",
    ("fallback", "breaker"): "Fallback before CircuitBreaker, or it never hears of an open circuit",
    ("fallback", "attempt_timeout"): "Fallback before AttemptTimeout, which bounds a single attempt",
    ("cache", "coalesce"): "Cache before Coalesce: what is stored need not be waited for",
    ("cache", "token_budget"): "Cache before TokenBudget: an answer that is there need not be counted",
    ("cache", "retry"): "Cache before Retry, or each attempt looks again",
    ("coalesce", "token_budget"): "Coalesce before TokenBudget: who joins a call need not be counted",
    ("coalesce", "retry"): "Coalesce before Retry: what is shared is the call, not the attempt",
    ("token_budget", "retry"): "TokenBudget before Retry, so that all attempts send the same",
    ("retry", "peek"): "Retry before breaker.peek, or an opened circuit does not end the loop",
    ("retry", "rate_limit"): "Retry before RateLimit: each attempt spends quota",
    ("retry", "concurrency"): "Retry before ConcurrencyLimit, or slots are held while nothing is sent",
    ("retry", "breaker"): "Retry before CircuitBreaker, or one half-open probe becomes several requests",
    ("retry", "attempt_timeout"): "Retry before AttemptTimeout, which bounds a single attempt",
    ("peek", "rate_limit"): "breaker.peek before RateLimit, or calls queue for quota only to be rejected",
    ("peek", "concurrency"): "breaker.peek before ConcurrencyLimit, or calls queue only to be rejected",
    ("peek", "breaker"): "breaker.peek before the breaker: it looks without claiming",
    ("rate_limit", "concurrency"): "RateLimit before ConcurrencyLimit, or slots are held in vain",
    ("rate_limit", "breaker"): "RateLimit before CircuitBreaker, or a probe is held while it waits",
    ("rate_limit", "attempt_timeout"): "RateLimit before AttemptTimeout, which bounds the backend's time",
    ("concurrency", "breaker"): "ConcurrencyLimit before CircuitBreaker, or a probe queues",
    ("concurrency", "attempt_timeout"): "ConcurrencyLimit before AttemptTimeout: a queue has its own limit",
    ("rate_limit", "recheck"): "RateLimit before its recheck, which sends calls back to where they wait",
    ("concurrency", "recheck"): "ConcurrencyLimit before RateLimit.recheck, which looks after the queue",
    ("recheck", "breaker"): "RateLimit.recheck before CircuitBreaker, or a half-open probe is sent back",
    ("breaker", "attempt_timeout"): "CircuitBreaker before AttemptTimeout, or it never sees a hang",
    ("recovery", "classifier"): _ACTS_ON_ERRORS.format("StreamRecovery"),
    ("fallback", "classifier"): _ACTS_ON_ERRORS.format("Fallback"),
    ("token_budget", "classifier"): _ACTS_ON_ERRORS.format("TokenBudget"),
    ("retry", "classifier"): _ACTS_ON_ERRORS.format("Retry"),
    ("rate_limit", "classifier"): _ACTS_ON_ERRORS.format("RateLimit"),
    ("breaker", "classifier"): _ACTS_ON_ERRORS.format("CircuitBreaker"),
    ("attempt_timeout", "classifier"): "ErrorClassifier after AttemptTimeout, next to the transport",
    ("classifier", "fault_injection"): "FaultInjection after ErrorClassifier, which judges its faults",
}
"""The role that stands further out, the one further in, and what to put where if it is the other way round."""


_LOOKS = {"breaker": "peek", "rate_limit": "recheck"}
"""What the look-only method of a stage is."""


_STRANGERS = {
    "peek": "peek belongs to another breaker: use the peek of the CircuitBreaker in the same stack",
    "recheck": "recheck belongs to another rate limit: use the recheck of the RateLimit in the same stack",
}


def role_of(stage: object) -> str | None:
    """What a stage is, or None if it does not say."""
    owner = getattr(stage, "__self__", None)
    if owner is not None:
        return _LOOKS.get(getattr(owner, "role", ""))
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
    for (outer, inner), advice in _RULES.items():
        if outer in roles and inner in roles and roles.index(inner) < _last(roles, outer):
            msg = f"put {advice}"
            raise CompositionError(msg)
    if "recovery" in roles and not {"retry", "fallback"} & set(roles):
        msg = "StreamRecovery calls again as far as a Retry inside allows: put one after it"
        raise CompositionError(msg)
    _check_looks(middleware, roles)


def _check_looks(middleware: Sequence[object], roles: Sequence[str | None]) -> None:
    """Who looks for a stage looks for one that is there; a rate limit would send calls back at once, for ever."""
    for stage, role in zip(middleware, roles, strict=True):
        if role == "peek" or (role == "recheck" and "rate_limit" in roles):
            owner = getattr(stage, "__self__", None)
            if not any(other is owner for other in middleware):
                raise CompositionError(_STRANGERS[role])


def _last(roles: Sequence[str | None], role: str) -> int:
    return max(place for place, found in enumerate(roles) if found == role)
