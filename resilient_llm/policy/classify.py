"""What a backend's failure means: status, headers and body in, one typed error out.

Pure and total: any bytes, any status and any headers give an `LLMError`, never an exception; the current time is
an argument. What the words and codes mean is data, in `classify_rules` and `classify_words`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from resilient_llm.errors import ERROR_TYPES, ErrorCode, LLMError

from .classify_answer import finish_failure, says_error
from .classify_body import Reading, read_body, squeeze
from .classify_rules import LAST, RULES, Rule
from .classify_status import classify_status
from .classify_stream import read_stream
from .classify_text import said, unquoted, words_of
from .context_size import Overflow, read_overflow
from .retry_after import delay_from_headers, delay_from_text

if TYPE_CHECKING:
    from collections.abc import Mapping

Surface: TypeAlias = Literal["http", "stream"]

_GENERIC: Final = frozenset({None, 200, 400, 500, 502})
"""Statuses that yield to one that the body names."""

_COMPLAINTS: Final = frozenset({400, 422})
"""Statuses of complaints about the request, which quote it."""

_TROUBLES: Final = frozenset(
    {
        ErrorCode.MODEL_RATE_LIMITED,
        ErrorCode.MODEL_QUOTA_EXCEEDED,
        ErrorCode.MODEL_OVERLOADED,
        ErrorCode.MODEL_LOADING,
        ErrorCode.MODEL_UNAVAILABLE,
        ErrorCode.MODEL_TIMEOUT,
    }
)
"""What a quoted name or value cannot tell of."""

_REQUEST_IDS: Final = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-amzn-requestid",
    "x-ms-request-id",
    "cf-ray",
)
_TYPE_HEADERS: Final = ("x-amzn-errortype", ":exception-type", "x-ms-error-code", ":error-code")


class Finding(NamedTuple):
    """A code, what was said, and whether a retry helps if not as the class says."""

    code: ErrorCode
    message: str
    retryable: bool | None = None


def classify(
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    body: str | bytes | None = None,
    backend: str | None = None,
    surface: Surface = "http",
    model: str | None = None,
    now: float | None = None,
) -> LLMError:
    """Turn what a backend answered instead of a result into the error that it means; never raises.

    Codes and types count first, then wording, then the status, then the vaguest codes.

    Args:
        status: The HTTP status; None if there was none.
        headers: The answer's headers, or those of an event-stream frame; any case.
        body: The body, or of a stream the text as far as it came. At most 64 KiB are examined: the beginning of a
            body, the end of a stream.
        backend: The transport's name, for the error.
        surface: `"http"` for an ordinary answer, `"stream"` for a failure inside a stream whose status was 200.
        model: The model asked for, for the error.
        now: Wall time in epoch seconds, for dates in `Retry-After`; without it only the answer's own `date` serves.
    """
    lowered = _headers(headers)
    text = body.decode("utf-8", "replace") if isinstance(body, bytes | bytearray) else str(body or "")
    reading, found = _examine(text, status, surface, lowered)
    error = _build(found, reading, status, lowered, now)
    error.status, error.backend, error.model = status, backend, model
    return error


def _headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {str(name).lower(): str(value)[:1_000] for name, value in (headers or {}).items()}


def _examine(
    text: str, status: int | None, surface: str, headers: Mapping[str, str]
) -> tuple[Reading, Finding]:
    if surface == "stream":
        return _examine_stream(text, headers)
    reading = _with_types(read_body(text), headers)
    if status is None or not 200 <= status < 300:
        return reading, judge(reading, status)
    return reading, _judge_answer(reading)


def _examine_stream(text: str, headers: Mapping[str, str]) -> tuple[Reading, Finding]:
    failure = read_stream(text)
    reading = failure.reading
    if reading is None and any(name in headers for name in _TYPE_HEADERS):
        reading = read_body(text)
    if reading is not None and reading.form != "html":
        reading = _with_types(reading, headers)
        return reading, judge(reading, 200)
    code = failure.code or ErrorCode.MODEL_RESPONSE_INVALID
    return Reading("empty"), Finding(code, failure.message)


def _judge_answer(reading: Reading) -> Finding:
    """Judge a body that came with status 200."""
    if reading.form == "html":
        return Finding(ErrorCode.MODEL_RESPONSE_INVALID, f"a web page: {said(reading)}", retryable=False)
    if reading.form == "empty":
        return Finding(ErrorCode.MODEL_RESPONSE_INVALID, "an empty body")
    if says_error(reading.value):
        return judge(reading, 200)
    if found := finish_failure(reading.value):
        return Finding(*found)
    if reading.form == "text" and len(" ".join(reading.texts)) < 1_000 and (rule := _match(reading, 200)):
        return Finding(rule.code, said(reading), rule.retryable)
    return Finding(
        ErrorCode.MODEL_RESPONSE_INVALID, "an answer without content" if reading.value else "no JSON"
    )


def _with_types(reading: Reading, headers: Mapping[str, str]) -> Reading:
    """Add the error types that AWS and Azure put into headers."""
    types = [squeeze(headers[name].partition(":")[0]) for name in _TYPE_HEADERS if name in headers]
    return reading._replace(codes=(*types, *reading.codes)) if types else reading


def judge(reading: Reading, status: int | None) -> Finding:
    """Decide by codes and wording first, then the status, then the vaguest codes.

    Args:
        reading: What the body says.
        status: The HTTP status; 200 for a failure that a body or a stream of status 200 tells of.
    """
    message = said(reading)
    if status in _GENERIC and reading.statuses:
        status = reading.statuses[0]
    if reading.form == "html" and status:
        return Finding(_page(status), message or f"HTTP {status}")
    if rule := _match(reading, status or 200):
        return Finding(rule.code, message, rule.retryable)
    code = (classify_status(status) if status else None) or _last(reading, status)
    return Finding(code, message or f"HTTP {status}")


def _last(reading: Reading, status: int | None) -> ErrorCode:
    """What the vaguest codes say. A sentence without any, where an answer should be, is an invalid one."""
    if found := next((rule for rule in LAST if _codes_hold(rule, reading)), None):
        return found.code
    unread = reading.form == "text" and status is not None
    return ErrorCode.MODEL_RESPONSE_INVALID if unread else ErrorCode.MODEL_UNAVAILABLE


def _page(status: int) -> ErrorCode:
    """What a proxy's own page means; its 503 says that it has no server to send to."""
    return (
        ErrorCode.MODEL_UNAVAILABLE
        if status == 503
        else classify_status(status) or ErrorCode.MODEL_RESPONSE_INVALID
    )


def _match(reading: Reading, status: int) -> Rule | None:
    words = words_of(reading)
    bare = unquoted(words) if status in _COMPLAINTS else words
    return next(
        (rule for rule in RULES if _holds(rule, reading, bare if rule.code in _TROUBLES else words, status)),
        None,
    )


def _holds(rule: Rule, reading: Reading, words: str, status: int) -> bool:
    if rule.status is not None and status not in rule.status:
        return False
    if rule.codes and not _codes_hold(rule, reading):
        return False
    return all(
        not pattern or _pattern(pattern).search(words) for pattern in (rule.words, rule.also)
    ) and not (rule.unless and _pattern(rule.unless).search(words))


def _codes_hold(rule: Rule, reading: Reading) -> bool:
    return any(_pattern(rule.codes).search(code) for code in reading.codes)


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _build(
    found: Finding, reading: Reading, status: int | None, headers: Mapping[str, str], now: float | None
) -> LLMError:
    words = words_of(reading)
    sizes = Overflow()
    if found.code is ErrorCode.MODEL_CONTEXT_LENGTH:
        sizes = read_overflow(words, reading.figures)
    failed = status is None or not 200 <= status < 300  # Anthropic sends retry-after with good answers too
    wait = delay_from_headers(headers, now) if failed else None
    if wait is None and ERROR_TYPES[found.code].retryable:
        # "If you just paid, try again in 5 minutes" is no wait that a retry could use
        wait = delay_from_text(words, reading.delays)
    named = next((headers[name][:128] for name in _REQUEST_IDS if headers.get(name)), None)
    return ERROR_TYPES[found.code](
        found.message or "the backend said nothing",
        retryable=_retryable(found, words, headers),
        retry_after=wait,
        request_id=named or reading.request_id,
        context_limit=sizes.limit,
        context_requested=sizes.requested,
    )


def _retryable(found: Finding, words: str, headers: Mapping[str, str]) -> bool | None:
    """What the backend says itself comes first; then whether the request could ever fit its allowance."""
    said = {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())
    if said is not None:
        return said
    if found.code is ErrorCode.MODEL_RATE_LIMITED and _oversized(words):
        return False
    return found.retryable


def _oversized(words: str) -> bool:
    """Is this one request larger than the whole allowance of its window?"""
    match = _pattern(r"limit:? {0,2}(\d{1,12})\b.{0,60}requested:? {0,2}(\d{1,12})\b").search(words)
    return "request too large" in words or (match is not None and int(match[2]) > int(match[1]))
