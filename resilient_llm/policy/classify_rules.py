"""What codes and wordings mean: the rules, read from the top; the first that holds decides.

A rule looks at the codes (`classify_codes`) or at the sentences (`classify_words_*`: lower case, no URLs, single
spaces), with or without the status. The order is the meaning:

1. codes that cannot be misread;
2. wordings whose meaning holds whatever the status: a spent quota, an overflow, a safety block;
3. wordings that need the right status beside them;
4. codes that are sent for many causes.

After that the status decides (`classify_status`), and last what the vaguest codes say. No rule quotes a whole
message. Gaps in the patterns are bounded, so matching is linear.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from resilient_llm.errors import ErrorCode

from . import classify_codes as codes
from . import classify_words_account as account
from . import classify_words_request as request
from . import classify_words_server as server

ANY_5XX: Final = frozenset(range(500, 600))

SERVER: Final = frozenset({200, 424}) | ANY_5XX
"""Statuses that say nothing about the cause: servers send them for their own faults and for the caller's."""

NOT_DENIED: Final = frozenset(range(200, 600)) - {401, 403}
"""Statuses that are no refusal of the caller; 402 has a rule of its own, before all that ask for these."""

DENIED: Final = frozenset({401, 403})
TOO_LATE: Final = frozenset({408, 504, 522, 524})


class Rule(NamedTuple):
    """One concept.

    Args:
        code: What it means.
        codes: A pattern, searched in each squeezed code or type.
        words: A pattern, searched in the sentences.
        also: A second pattern that the sentences must hold.
        unless: A pattern that they must not hold.
        status: The statuses with which it counts; None for all. A failure without one of its own has 200.
        retryable: An answer that differs from the class's own.
    """

    code: ErrorCode
    codes: str = ""
    words: str = ""
    also: str = ""
    unless: str = ""
    status: frozenset[int] | None = None
    retryable: bool | None = None


_C: Final = ErrorCode

CERTAIN_CODES: Final = (
    Rule(_C.MODEL_CONTEXT_LENGTH, codes=codes.CONTEXT),
    # Google's sentence about plan and billing is the same for every quota; one of 0 never returns
    Rule(_C.MODEL_RATE_LIMITED, codes=codes.WINDOWED, unless=r"limit: 0\b"),
    Rule(
        _C.MODEL_RATE_LIMITED,
        codes="^resourceexhausted$",
        words="exceeded your current quota",
        unless=r"credits|prepa|spend|limit: 0\b",
    ),
    Rule(_C.MODEL_QUOTA_EXCEEDED, codes=codes.QUOTA, unless=account.WINDOWED),
    Rule(_C.MODEL_AUTH, words=account.UNVERIFIED),
    # OpenAI sends `model_not_found` with 403 for a model that exists and is not allowed
    Rule(_C.MODEL_AUTH, words=account.NO_ACCESS, unless="not exist", status=DENIED),
    Rule(_C.MODEL_CONTENT_FILTERED, codes=codes.FILTER),
    Rule(_C.MODEL_RESPONSE_INVALID, codes=codes.GENERATED),
    Rule(_C.MODEL_NOT_FOUND, codes=codes.NO_MODEL, unless=server.OVERLOAD),
    Rule(_C.MODEL_AUTH, codes=codes.KEYS, unless=account.QUOTA),
)

CERTAIN_WORDS: Final = (
    Rule(
        _C.MODEL_INVALID_REQUEST,
        words=request.MALFORMED,
        unless=f"{request.SPECIFIC}|{request.FILTER}",
        status=frozenset({200, 400, 422}),
    ),
    Rule(
        _C.MODEL_RATE_LIMITED,
        words=account.WINDOWED,
        unless=request.BYTES,
        status=frozenset({200, 400, 401, 403, 413, 420, 429}) | ANY_5XX,
    ),
    Rule(_C.MODEL_QUOTA_EXCEEDED, words=account.QUOTA),
    Rule(_C.MODEL_QUOTA_EXCEEDED, status=frozenset({402})),
    Rule(_C.MODEL_RESPONSE_INVALID, words=server.GENERATED),
    Rule(
        _C.MODEL_PAYLOAD_TOO_LARGE,
        words=request.BYTES,
        also=request.EXCESS,
        unless=rf"context (?:length|window) (?:is|of)|\bv?ram\b|\bmemory\b|{request.NAME}",
    ),
    Rule(_C.MODEL_RATE_LIMITED, codes="throttl"),
    Rule(_C.MODEL_RATE_LIMITED, words=r"too many (?:\w{1,12} )?tokens", status=frozenset({429})),
    Rule(_C.MODEL_CONTEXT_LENGTH, words=request.OVERFLOW, unless="please wait"),
    Rule(
        _C.MODEL_CONTEXT_LENGTH,
        words=request.CONTEXT,
        also=request.EXCESS,
        unless=request.NO_REQUEST,
        status=frozenset({400, 404, 413, 422}) | SERVER,
    ),
    Rule(
        _C.MODEL_CONTEXT_LENGTH,
        words=request.CAP,
        unless=request.NO_REQUEST,
        status=frozenset({200, 400, 413, 422, 500}),
    ),
    Rule(
        _C.MODEL_INVALID_REQUEST,
        codes=codes.INVALID,
        unless=f"{request.FILTER}|{request.NO_MODEL}|{request.SIZE}|{account.KEYS}",
    ),
    Rule(_C.MODEL_AUTH, words=account.LOCKED),
    Rule(
        _C.MODEL_CONTENT_FILTERED,
        words=request.FILTER,
        unless="no endpoints|data policy",
        status=NOT_DENIED - {429} | {403},
    ),
)

WORDS: Final = (
    Rule(_C.MODEL_UNAVAILABLE, words=server.REFUSED_LOAD, retryable=False),
    Rule(_C.MODEL_LOADING, words=server.LOADING, status=frozenset({400, 404, 409, 425, 429}) | SERVER),
    Rule(_C.MODEL_OVERLOADED, codes=codes.OVERLOAD),
    Rule(_C.MODEL_LOADING, codes=codes.LOADING),
    Rule(_C.MODEL_UNAVAILABLE, words="certificate[ _]verify|self.signed certificate", retryable=False),
    Rule(_C.MODEL_UNAVAILABLE, words=server.UNREACHABLE, status=NOT_DENIED - TOO_LATE),
    Rule(
        _C.MODEL_OVERLOADED,
        words=server.OVERLOAD,
        unless="频率|频繁|限流|限速|速率",
        status=frozenset({400, 403, 408, 413, 429, 498}) | SERVER,
    ),
    Rule(_C.MODEL_NOT_FOUND, words=request.NO_MODEL, unless=request.WRONG_PATH, status=frozenset({404})),
    Rule(
        _C.MODEL_AUTH,
        words=f"{account.KEYS}|{account.REGION}",
        unless="rate limit|too many",
        status=frozenset({200, 400, 401, 403, 404, 422, 500, 501, 502}),
    ),
    Rule(_C.MODEL_INVALID_REQUEST, words=request.WRONG_PATH),
    Rule(
        _C.MODEL_NOT_FOUND, words=request.NO_MODEL, also=request.MISSING, unless="permission", status=DENIED
    ),
    Rule(_C.MODEL_NOT_FOUND, words=request.NO_MODEL, status=NOT_DENIED),
    Rule(
        _C.MODEL_OVERLOADED,
        words="limit (?:reached|exceeded)|exhausted",
        unless="rate.?limit|throttl|too many",
        status=frozenset({503, 529}),
    ),
    Rule(_C.MODEL_RATE_LIMITED, words=account.THROTTLE),
    Rule(_C.MODEL_UNAVAILABLE, words=server.CRASH, status=frozenset({400, 408, 422, 429}) | SERVER),
    Rule(
        _C.MODEL_TIMEOUT,
        words=server.TIMEOUT,
        unless="invalid|must be",
        status=frozenset({400, 408, 429}) | SERVER,
    ),
    Rule(_C.MODEL_PAYLOAD_TOO_LARGE, words=request.SIZE, unless=f"pixels|dimension|{request.NAME}"),
    Rule(_C.MODEL_AUTH, words=account.CREDENTIALS, status=frozenset({200, 400, 401, 403, 500, 501, 502})),
    Rule(_C.MODEL_INVALID_REQUEST, words=request.INVALID, status=SERVER),
)

UNCERTAIN_CODES: Final = (
    Rule(_C.MODEL_RATE_LIMITED, codes=codes.THROTTLE),
    Rule(_C.MODEL_AUTH, codes=codes.DENIED),
    Rule(_C.MODEL_TIMEOUT, codes=codes.TIMEOUT),
    Rule(_C.MODEL_PAYLOAD_TOO_LARGE, codes=codes.SIZE, unless=request.NAME),
)

RULES: Final = (*CERTAIN_CODES, *CERTAIN_WORDS, *WORDS, *UNCERTAIN_CODES)

LAST: Final = (
    # what is left when neither wording nor status told the cause: mostly failures inside a stream
    Rule(_C.MODEL_NOT_FOUND, codes="notfound"),
    Rule(_C.MODEL_INVALID_REQUEST, codes=codes.VAGUE_INVALID),
    Rule(_C.MODEL_OVERLOADED, codes="unavailable|capacity"),
    Rule(_C.MODEL_UNAVAILABLE, codes=codes.VAGUE_SERVER),
)
