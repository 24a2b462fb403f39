"""Resilience middleware for LLM calls: retry, circuit breaker, token budget, error classification.

Everything a user needs is importable from here; the sub-packages are for composing. See the README to begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exports import EXPORTS
from .lazy import attach

if TYPE_CHECKING:
    from .client import AsyncClient
    from .clock import SYSTEM_CLOCK, Clock, SystemClock
    from .composition import CompositionError
    from .console import show_logs
    from .errors import (
        BackendAnswer,
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
        FallingBack,
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
    from .fallback import Fallback
    from .integrations.aiohttp_middleware import ResilientMiddleware
    from .integrations.callables import resilient
    from .integrations.httpx_transport import ResilientTransport
    from .integrations.replaying import StreamReplay
    from .integrations.wrapping import wrap
    from .middleware import (
        AttemptTimeout,
        CircuitBreaker,
        ConcurrencyLimit,
        Deadline,
        ErrorClassifier,
        Logging,
        RateLimit,
        Retry,
        StreamRecovery,
        TokenBudget,
        decorrelated_jitter,
    )
    from .middleware.cache import Cache
    from .middleware.cache_store import CacheStore, MemoryStore
    from .middleware.coalesce import Coalesce
    from .middleware.telemetry import Telemetry
    from .models import (
        Attempt,
        Completion,
        Embeddings,
        FunctionCall,
        ModelInfo,
        PromptCut,
        PruneReport,
        Usage,
    )
    from .pipeline import Handler, Middleware, Pipeline, Transport
    from .policy.classify import classify
    from .policy.classify_exception import classify_exception
    from .policy.retry_budget import RetryBudget
    from .presets import standard_stack
    from .providers import LLMBackendAdapter, LLMProvider, LLMProviderConfig
    from .request import Message, Request
    from .response import Outcome, OutcomeKind, Response, observe
    from .settings import Settings, SettingsError
    from .sharing import State
    from .state.memory import MemoryState
    from .state.redis import RedisState
    from .sync import Client
    from .sync_response import SyncResponse
    from .targets import Target
    from .testing.fault_injection import FaultInjection
    from .tokens import Conversation, ShortenResults, Summarize, TokenTracker
    from .transports import (
        AnthropicTransport,
        LlamaCppTransport,
        LMStudioTransport,
        OfflineTransport,
        OllamaTransport,
        OpenAICompatibleTransport,
        OpenAITransport,
    )
    from .version import __version__  # noqa: F401 - a name of the module, not one to import with a star

__all__ = [
    "SYSTEM_CLOCK",
    "AnthropicTransport",
    "AsyncClient",
    "Attempt",
    "AttemptTimeout",
    "BackendAnswer",
    "BackendFailure",
    "Cache",
    "CacheStore",
    "CircuitBreaker",
    "CircuitOpenError",
    "Client",
    "Clock",
    "Coalesce",
    "Completion",
    "CompositionError",
    "ConcurrencyLimit",
    "ContentSeen",
    "Conversation",
    "Deadline",
    "DeadlineExceededError",
    "Embeddings",
    "ErrorClassifier",
    "ErrorCode",
    "Event",
    "Fallback",
    "FallingBack",
    "FaultInjection",
    "Finish",
    "FunctionCall",
    "Handler",
    "LLMBackendAdapter",
    "LLMError",
    "LLMProvider",
    "LLMProviderConfig",
    "LMStudioTransport",
    "LimitExceededError",
    "LlamaCppTransport",
    "Logging",
    "MemoryState",
    "MemoryStore",
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
    "OllamaTransport",
    "OpenAICompatibleTransport",
    "OpenAITransport",
    "Outcome",
    "OutcomeKind",
    "Pipeline",
    "PromptCut",
    "PruneReport",
    "RateLimit",
    "ReasoningDelta",
    "RedisState",
    "Request",
    "ResilientMiddleware",
    "ResilientTransport",
    "Response",
    "Restarted",
    "Result",
    "Retry",
    "RetryBudget",
    "Settings",
    "SettingsError",
    "ShortenResults",
    "State",
    "StreamRecovery",
    "StreamReplay",
    "Summarize",
    "SyncResponse",
    "SystemClock",
    "Target",
    "Telemetry",
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
    "resilient",
    "show_logs",
    "standard_stack",
    "wrap",
]

__getattr__ = attach(__name__, {name: home for home, names in EXPORTS.items() for name in names})


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
