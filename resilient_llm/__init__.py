"""Resilience middleware for LLM calls: retry, circuit breaker, token budget, error classification.

Everything a user needs is importable from here; the sub-packages are for composing. See the README to begin.
"""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import TYPE_CHECKING

from .client import AsyncClient
from .clock import SYSTEM_CLOCK, Clock, SystemClock
from .composition import CompositionError
from .errors import (
    BackendFailure,
    CircuitOpenError,
    DeadlineExceededError,
    ErrorCode,
    LimitExceededError,
    LLMError,
    ModelAuthError,
    ModelContentFilteredError,
    ModelContextLengthError,
    ModelInvalidRequestError,
    ModelLoadingError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelPayloadTooLargeError,
    ModelQuotaExceededError,
    ModelRateLimitedError,
    ModelResponseInvalidError,
    ModelTimeoutError,
    ModelUnavailableError,
    TokenLimitExceededError,
)
from .events import (
    ContentSeen,
    Event,
    Finish,
    Notice,
    ReasoningDelta,
    Restarted,
    Result,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    UsageEvent,
    Waiting,
)
from .middleware import (
    AttemptTimeout,
    CircuitBreaker,
    Deadline,
    ErrorClassifier,
    Logging,
    Retry,
    TokenBudget,
    decorrelated_jitter,
)
from .models import (
    Attempt,
    Completion,
    Embeddings,
    FunctionCall,
    Message,
    ModelInfo,
    PruneReport,
    Request,
    Usage,
)
from .pipeline import Handler, Middleware, Pipeline, Transport
from .policy.classify import classify
from .policy.classify_exception import classify_exception
from .policy.retry_budget import RetryBudget
from .presets import standard_stack
from .response import Outcome, OutcomeKind, Response, observe
from .tokens import TokenTracker
from .transports import (
    LlamaCppTransport,
    LMStudioTransport,
    OfflineTransport,
    OpenAICompatibleTransport,
    OpenAITransport,
)

if TYPE_CHECKING:
    from .integrations.wrapping import wrap

__version__ = _version("resilient-llm")

__all__ = [
    "SYSTEM_CLOCK",
    "AsyncClient",
    "Attempt",
    "AttemptTimeout",
    "BackendFailure",
    "CircuitBreaker",
    "CircuitOpenError",
    "Clock",
    "Completion",
    "CompositionError",
    "ContentSeen",
    "Deadline",
    "DeadlineExceededError",
    "Embeddings",
    "ErrorClassifier",
    "ErrorCode",
    "Event",
    "Finish",
    "FunctionCall",
    "Handler",
    "LLMError",
    "LMStudioTransport",
    "LimitExceededError",
    "LlamaCppTransport",
    "Logging",
    "Message",
    "Middleware",
    "ModelAuthError",
    "ModelContentFilteredError",
    "ModelContextLengthError",
    "ModelInfo",
    "ModelInvalidRequestError",
    "ModelLoadingError",
    "ModelNotFoundError",
    "ModelOverloadedError",
    "ModelPayloadTooLargeError",
    "ModelQuotaExceededError",
    "ModelRateLimitedError",
    "ModelResponseInvalidError",
    "ModelTimeoutError",
    "ModelUnavailableError",
    "Notice",
    "OfflineTransport",
    "OpenAICompatibleTransport",
    "OpenAITransport",
    "Outcome",
    "OutcomeKind",
    "Pipeline",
    "PruneReport",
    "ReasoningDelta",
    "Request",
    "Response",
    "Restarted",
    "Result",
    "Retry",
    "RetryBudget",
    "SystemClock",
    "TextDelta",
    "TokenBudget",
    "TokenLimitExceededError",
    "TokenTracker",
    "ToolCall",
    "ToolCallDelta",
    "Transport",
    "Usage",
    "UsageEvent",
    "Waiting",
    "classify",
    "classify_exception",
    "decorrelated_jitter",
    "observe",
    "standard_stack",
    "wrap",
]


def __getattr__(name: str) -> object:
    """Load what wraps other people's clients only when it is asked for."""
    if name == "wrap":
        from .integrations.wrapping import wrap  # noqa: PLC0415 - see above

        return wrap
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
