"""Which statuses mean what by themselves, and beside which statuses a wording counts."""

from __future__ import annotations

import pytest

from resilient_llm.errors import ErrorCode
from resilient_llm.policy.classify import judge
from resilient_llm.policy.classify_body import read_value
from resilient_llm.policy.classify_status import classify_status

C = ErrorCode

MEANING = {
    C.MODEL_AUTH: {401, 403, 407, 451, 511},
    C.MODEL_QUOTA_EXCEEDED: {402},
    C.MODEL_TIMEOUT: {408, 460, 504, 522, 524, 598, 599},
    C.MODEL_NOT_FOUND: {410},
    C.MODEL_PAYLOAD_TOO_LARGE: {413, 414, 431},
    C.MODEL_RATE_LIMITED: {420, 429},
    C.MODEL_OVERLOADED: {423, 498, 503, 529},
    C.MODEL_INVALID_REQUEST: {501, 505},
    C.MODEL_UNAVAILABLE: {409, 424, 425, 499},
}


def test_every_status_has_one_meaning() -> None:
    """The listed ones theirs; others from 400 a wrong request, from 500 the server's fault, below 400 no failure."""
    listed = {status: code for code, statuses in MEANING.items() for status in statuses}
    for status in range(100, 700):
        other = None
        if status >= 400:
            other = C.MODEL_INVALID_REQUEST if status < 500 else C.MODEL_UNAVAILABLE
        assert classify_status(status) is listed.get(status, other), status


TRIED = {200, 201, *range(399, 433), *range(497, 533), 599, 600}
ANY_5XX = TRIED & set(range(500, 600))
SERVER = {200, 424} | ANY_5XX
NOT_DENIED = TRIED - {401, 402, 403, 600}


@pytest.mark.parametrize(
    ("words", "code", "means", "statuses"),
    [
        ("you do not have access to it", "model_not_found", C.MODEL_AUTH, {401, 403}),
        ("unknown parameter: rate limit", "", C.MODEL_INVALID_REQUEST, {200, 400, 422}),
        (
            "billing: 10 requests per minute",
            "",
            C.MODEL_RATE_LIMITED,
            {200, 400, 401, 403, 413, 420, 429} | ANY_5XX,
        ),
        ("the output was truncated", "", C.MODEL_QUOTA_EXCEEDED, {402}),
        ("too many input tokens", "", C.MODEL_RATE_LIMITED, {429}),
        (
            "maximum context length exceeded; quota exceeded",
            "",
            C.MODEL_CONTEXT_LENGTH,
            {400, 404, 413, 422} | SERVER,
        ),
        ("max_tokens is too large; rate limit", "", C.MODEL_CONTEXT_LENGTH, {200, 400, 413, 422, 500}),
        ("jailbreak", "", C.MODEL_CONTENT_FILTERED, NOT_DENIED - {429} | {403}),
        ("the model is still loading; rate limit", "", C.MODEL_LOADING, {400, 404, 409, 425, 429} | SERVER),
        (
            "connection refused; rate limit",
            "",
            C.MODEL_UNAVAILABLE,
            NOT_DENIED - {408, 504, 522, 524},
        ),
        (
            "the server is busy; rate limit",
            "",
            C.MODEL_OVERLOADED,
            {400, 403, 408, 413, 429, 498} | SERVER,
        ),
        (
            "unknown model: the api key is invalid",
            "",
            C.MODEL_NOT_FOUND,
            NOT_DENIED - {200, 400, 422, 500, 501, 502},
        ),
        (
            "no route: the api key is invalid",
            "",
            C.MODEL_AUTH,
            {200, 400, 401, 403, 404, 422, 500, 501, 502},
        ),
        ("unknown model; rate limit", "", C.MODEL_NOT_FOUND, NOT_DENIED),
        ("the model does not exist; rate limit", "", C.MODEL_NOT_FOUND, NOT_DENIED | {401, 403}),
        ("limit exceeded", "", C.MODEL_OVERLOADED, {503, 529}),
        ("the runner crashed; payload too large", "", C.MODEL_UNAVAILABLE, {400, 408, 422, 429} | SERVER),
        ("timed out; payload too large", "", C.MODEL_TIMEOUT, {400, 408, 429} | SERVER),
        ("it is forbidden", "timeout", C.MODEL_AUTH, {200, 400, 401, 403, 500, 501, 502}),
        ("a schema is missing", "access_denied", C.MODEL_INVALID_REQUEST, SERVER),
    ],
)
def test_a_wording_counts_beside_its_statuses_alone(
    words: str, code: str, means: ErrorCode, statuses: set[int]
) -> None:
    """Beside others the next rule, a code or the status decides: each row would mean something else there."""
    reading = read_value({"message": words, "code": code})
    assert {status for status in TRIED if judge(reading, status).code is means} == statuses
