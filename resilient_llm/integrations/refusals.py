"""Our errors as answers and exceptions that a wrapped client knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, Protocol, Self, TypeVar

import httpx2
import msgspec

from resilient_llm.errors import ErrorCode, LLMError

from .http_call import RefusedByStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_llm.errors import BackendFailure

    from .http_call import HTTPCall

STATUSES: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.CIRCUIT_OPEN: 503,
    ErrorCode.LIMIT_EXCEEDED: 429,
    ErrorCode.TOKEN_BUDGET_EXCEEDED: 400,
    ErrorCode.MODEL_RATE_LIMITED: 429,
    ErrorCode.MODEL_QUOTA_EXCEEDED: 429,
    ErrorCode.MODEL_CONTEXT_LENGTH: 400,
    ErrorCode.MODEL_OVERLOADED: 503,
    ErrorCode.MODEL_LOADING: 503,
    ErrorCode.MODEL_NOT_FOUND: 404,
    ErrorCode.MODEL_AUTH: 401,
    ErrorCode.MODEL_INVALID_REQUEST: 400,
    ErrorCode.MODEL_PAYLOAD_TOO_LARGE: 413,
    ErrorCode.MODEL_CONTENT_FILTERED: 400,
}
"""The status of an error that has none of its own; the other codes say that no usable answer came."""

TIMEOUTS: Final = frozenset({ErrorCode.MODEL_TIMEOUT, ErrorCode.DEADLINE_EXCEEDED})

Raised = TypeVar("Raised", bound=Exception)


class Exceptions(Protocol):
    """The exceptions of a wrapped client."""

    def status(self, response: httpx2.Response, /) -> Exception:
        """For a status of 400 and above."""
        ...

    def connection(self, request: httpx2.Request, /) -> Exception:
        """No usable answer came."""
        ...

    def timeout(self, request: httpx2.Request, /) -> Exception:
        """None came in time."""
        ...


class Refusal(httpx2.Response):
    """An answer whose status is an error.

    Event hooks, authentication and redirects see it as any other; `raise_for_status`, which every SDK calls, raises
    the client's own exception with our error on it, so the SDK does not come to retrying.
    """

    llm_error: LLMError
    exceptions: Exceptions

    def raise_for_status(self) -> Self:
        """Raise the client's exception."""
        raise signed(self.exceptions.status(self), self.llm_error) from self.llm_error


def signed(exception: Raised, error: LLMError) -> Raised:
    """The client's exception with our error on `llm_error`."""
    exception.llm_error = error  # type: ignore[attr-defined] # that is what our users look for
    return exception


def refuse(call: HTTPCall, error: LLMError, exceptions: Exceptions) -> httpx2.Response:
    """The backend's own refusal as it was, one made up for what was rejected here, or the exception for no answer."""
    failure = None if error.local else call.failure
    if isinstance(failure, RefusedByStatus):
        return _refusal(error, exceptions, failure.status, failure.head, failure.content)
    status = STATUSES.get(error.code)
    if status is None:
        fail(call.http, error, exceptions)
    headers = {"content-type": "application/json", "x-should-retry": "false"}
    if error.retry_after is not None:
        headers["retry-after"] = f"{error.retry_after:.3f}"
    return _refusal(error, exceptions, status, httpx2.Headers(headers), _document(error, failure))


def fail(request: httpx2.Request, error: LLMError, exceptions: Exceptions) -> NoReturn:
    """Raise the client's exception for an answer that did not come, not in time, or not whole."""
    made = exceptions.timeout if error.code in TIMEOUTS else exceptions.connection
    raise signed(made(request), error) from error


def _refusal(
    error: LLMError, exceptions: Exceptions, status: int, headers: httpx2.Headers, content: bytes
) -> Refusal:
    refusal = Refusal(status, headers=headers, content=content, extensions={"llm_error": error})
    refusal.llm_error, refusal.exceptions = error, exceptions
    return refusal


def _document(error: LLMError, failure: BackendFailure | None) -> bytes:
    """What the backend said inside a 200, or our own words in its dialect."""
    if failure is not None and failure.body:
        return failure.body if isinstance(failure.body, bytes) else failure.body.encode()
    detail = {"message": str(error), "type": "resilient_llm", "param": None, "code": str(error.code)}
    return msgspec.json.encode({"error": detail})
