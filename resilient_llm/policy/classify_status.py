"""What an HTTP status means when neither code nor wording tells the cause."""

from __future__ import annotations

from typing import Final

from resilient_llm.errors import ErrorCode

STATUSES: Final = {
    **dict.fromkeys((401, 403, 407, 451, 511), ErrorCode.MODEL_AUTH),
    402: ErrorCode.MODEL_QUOTA_EXCEEDED,
    # 460: the client of an AWS load balancer left; 522, 524: Cloudflare; 598, 599: proxies
    **dict.fromkeys((408, 460, 504, 522, 524, 598, 599), ErrorCode.MODEL_TIMEOUT),
    410: ErrorCode.MODEL_NOT_FOUND,
    **dict.fromkeys((413, 414, 431), ErrorCode.MODEL_PAYLOAD_TOO_LARGE),
    **dict.fromkeys((420, 429), ErrorCode.MODEL_RATE_LIMITED),
    # 498: Groq's flex tier has no capacity left; 529: Anthropic
    **dict.fromkeys((423, 498, 503, 529), ErrorCode.MODEL_OVERLOADED),
    **dict.fromkeys((501, 505), ErrorCode.MODEL_INVALID_REQUEST),
    # conflicts of the moment; 424 is TGI's and Bedrock's failed shard or model
    **dict.fromkeys((409, 424, 425, 499), ErrorCode.MODEL_UNAVAILABLE),
}


def classify_status(status: int) -> ErrorCode | None:
    """Say what a status means by itself; None for those that are no failure."""
    if (code := STATUSES.get(status)) is not None:
        return code
    if 400 <= status < 500:
        return ErrorCode.MODEL_INVALID_REQUEST
    return ErrorCode.MODEL_UNAVAILABLE if status >= 500 else None
