"""Our errors as answers that a wrapped client knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from resilient_llm.errors import BackendFailure, ErrorCode, LLMError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resilient_llm.http_call import HTTPCall

TIMEOUTS: Final = frozenset({ErrorCode.MODEL_TIMEOUT, ErrorCode.DEADLINE_EXCEEDED})
"""What a client's library calls a timeout."""

LIBRARIES: Final = frozenset({"aiohttp", "httpx", "httpx2"})

Raised = TypeVar("Raised", bound=Exception)


@attrs.frozen
class Refusal:
    """An error as an answer over HTTP."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


def refusal_of(error: LLMError, call: HTTPCall) -> Refusal | None:
    """The backend's own refusal as it was, or one made up for what was rejected here; None if no answer came."""
    answer = None if error.local else error.answer
    if answer is not None and answer.status >= 400:
        return Refusal(answer.status, answer.headers, answer.body)
    status, body = call.asked.refused(error)
    if status is None or error.code in TIMEOUTS or (answer is None and _is_a_librarys(error.__cause__)):
        return None
    headers = {"content-type": "application/json", "x-should-retry": "false"}
    if error.retry_after is not None:
        headers["retry-after"] = f"{error.retry_after:.3f}"
    if answer is not None and answer.body:
        body = answer.body  # what the backend said inside a 200
    return Refusal(status, headers, body)


def as_ours(exception: Exception, backend: str) -> Exception:
    """What stages without a classifier let through, as an error of ours; a program's own exceptions stay what they are.

    Args:
        exception: What was raised.
        backend: The backend's name.
    """
    if isinstance(exception, LLMError):
        return exception
    from resilient_llm.policy.classify_exception import classify_exception  # noqa: PLC0415 - rarely needed
    from resilient_llm.policy.classify_libraries import is_known  # noqa: PLC0415

    if not is_known(exception):
        return exception
    error = classify_exception(exception, backend)
    error.__cause__ = exception
    if isinstance(exception, BackendFailure):
        error.answer = exception.answer
    return error


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what caused it, each once: a library's own that is raised again comes before and after ours."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__


def _is_a_librarys(cause: BaseException | None) -> bool:
    """Did the request never leave the client's library: an address or a header that is none?"""
    return type(cause).__module__.partition(".")[0] in LIBRARIES


def signed(exception: Raised, error: LLMError) -> Raised:
    """The client's exception with our error on `llm_error`."""
    exception.llm_error = error  # type: ignore[attr-defined] # that is what our users look for
    return exception
