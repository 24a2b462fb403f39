"""What can go wrong, as types: one root, one subclass per code.

Every class states the three facts that the stages decide by (`retryable`, `backend_fault`, `hint`); a single
error may override the first two. `policy/outcomes.py` turns them into the table that drives retry, breaker and
fallback.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from aiobreaker import CircuitBreakerError

from .error_base import BackendAnswer, BackendFailure, ErrorCode, LLMError, count_attempts

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ERROR_TYPES",
    "BackendAnswer",
    "BackendFailure",
    "CircuitOpenError",
    "DeadlineExceededError",
    "ErrorCode",
    "LLMError",
    "LimitExceededError",
    "ModelAuthError",
    "ModelContentFilteredError",
    "ModelContextLengthError",
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
    "TokenLimitExceededError",
    "count_attempts",
]


class ModelRateLimitedError(LLMError):
    """A limit on requests, tokens or concurrency that passes with time."""

    code = ErrorCode.MODEL_RATE_LIMITED
    hint = "Send fewer or smaller requests, or add a RateLimit stage"
    retryable = True


class ModelQuotaExceededError(LLMError):
    """Billing, credit or a spent quota: time does not help."""

    code = ErrorCode.MODEL_QUOTA_EXCEEDED
    hint = "Check the plan and the billing of this key"


class ModelContextLengthError(LLMError):
    """The prompt, or prompt and completion together, are too long for the model."""

    code = ErrorCode.MODEL_CONTEXT_LENGTH
    hint = "Shorten the conversation, lower max_tokens, or use a model with a larger window"


class ModelOverloadedError(LLMError):
    """The backend is full: 503 or 529, a full queue, a busy engine."""

    code = ErrorCode.MODEL_OVERLOADED
    hint = "The backend is busy; try again later or add a fallback"
    retryable = True
    backend_fault = True


class ModelLoadingError(ModelOverloadedError):
    """A local server is still loading the model."""

    code = ErrorCode.MODEL_LOADING
    hint = "Wait until the server has loaded its model"
    backend_fault = False


class ModelUnavailableError(LLMError):
    """No connection, a reset, a 500 or 502, a gateway's page, a crashed engine."""

    code = ErrorCode.MODEL_UNAVAILABLE
    hint = "Check that the backend is running and that its address is right"
    retryable = True
    backend_fault = True


class ModelTimeoutError(LLMError):
    """The backend was silent for too long, or said itself that it took too long."""

    code = ErrorCode.MODEL_TIMEOUT
    hint = "Raise the time limit if the model is merely slow"
    retryable = True
    backend_fault = True


class ModelResponseInvalidError(LLMError):
    """A 200 that is no answer: garbage, no choices, a truncated body or stream."""

    code = ErrorCode.MODEL_RESPONSE_INVALID
    hint = "The backend's answer was unusable; `partial` holds what came of it"
    retryable = True
    backend_fault = True


class ModelNotFoundError(LLMError):
    """The model is unknown, retired or not loaded."""

    code = ErrorCode.MODEL_NOT_FOUND
    hint = "List the models that the backend has: resilient-llm models, or await client.models()"


class ModelAuthError(LLMError):
    """The key is missing or wrong, or lacks a permission."""

    code = ErrorCode.MODEL_AUTH
    hint = "Check the API key and its permissions"


class ModelInvalidRequestError(LLMError):
    """The request is malformed, or asks for something that the backend does not support."""

    code = ErrorCode.MODEL_INVALID_REQUEST
    hint = "Correct the request; sending it again unchanged will not help"


class ModelPayloadTooLargeError(LLMError):
    """The request's body is too large in bytes, whatever its tokens."""

    code = ErrorCode.MODEL_PAYLOAD_TOO_LARGE
    hint = "Send fewer or smaller images and files"


class ModelContentFilteredError(LLMError):
    """A safety system refused the prompt or the answer."""

    code = ErrorCode.MODEL_CONTENT_FILTERED
    hint = "Rephrase the prompt"


class CircuitOpenError(LLMError, CircuitBreakerError):  # type: ignore[misc] # aiobreaker is untyped
    """The circuit breaker rejected the call without sending it.

    Also an `aiobreaker.CircuitBreakerError`, so code written for aiobreaker catches it. `retry_after` says when
    a probe may go; `__cause__` is the error that opened the circuit.
    """

    code = ErrorCode.CIRCUIT_OPEN
    hint = "The backend failed repeatedly; calls resume by themselves once a probe succeeds"
    local = True

    @property
    def time_remaining(self) -> timedelta:
        """`retry_after` as aiobreaker gives it."""
        return timedelta(seconds=self.retry_after or 0.0)

    @property
    def reopen_time(self) -> datetime:
        """When a probe may go, in local time as aiobreaker gives it."""
        return datetime.now() + self.time_remaining  # noqa: DTZ005 - aiobreaker's vocabulary is naive


class LimitExceededError(LLMError):
    """A limit of this client (rate, concurrency, queue) rejected the call without sending it."""

    code = ErrorCode.LIMIT_EXCEEDED
    hint = "Raise the limit, or send fewer calls at once"
    local = True


class DeadlineExceededError(LLMError):
    """The call's total deadline passed, or could not have been kept. `__cause__` is the last real error."""

    code = ErrorCode.DEADLINE_EXCEEDED
    hint = "Give the call more time"
    local = True


class TokenLimitExceededError(LLMError):
    """The text or the conversation does not fit its token budget, whatever is pruned."""

    code = ErrorCode.TOKEN_BUDGET_EXCEEDED
    hint = "Shorten the newest message, lower max_tokens, or use a larger window"
    local = True


ERROR_TYPES: Mapping[ErrorCode, type[LLMError]] = {
    kind.code: kind
    for kind in (
        ModelRateLimitedError,
        ModelQuotaExceededError,
        ModelContextLengthError,
        ModelOverloadedError,
        ModelLoadingError,
        ModelUnavailableError,
        ModelTimeoutError,
        ModelResponseInvalidError,
        ModelNotFoundError,
        ModelAuthError,
        ModelInvalidRequestError,
        ModelPayloadTooLargeError,
        ModelContentFilteredError,
        CircuitOpenError,
        LimitExceededError,
        DeadlineExceededError,
        TokenLimitExceededError,
    )
}
