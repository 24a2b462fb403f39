"""The stages: thin shells over `resilient_llm.policy`."""

from .attempt_timeout import AttemptTimeout
from .circuit_breaker import CircuitBreaker
from .concurrency import ConcurrencyLimit
from .deadline import Deadline
from .error_classifier import ErrorClassifier
from .logging import Logging
from .rate_limit import RateLimit
from .retry import Retry, decorrelated_jitter
from .stream_recovery import StreamRecovery
from .token_budget import TokenBudget

__all__ = [
    "AttemptTimeout",
    "CircuitBreaker",
    "ConcurrencyLimit",
    "Deadline",
    "ErrorClassifier",
    "Logging",
    "RateLimit",
    "Retry",
    "StreamRecovery",
    "TokenBudget",
    "decorrelated_jitter",
]
