"""What codes and wordings mean: the vocabulary of the backends, concept by concept.

`RULES` is read from the top; the first rule that holds decides. A rule looks either at the codes (reduced to
letters and digits, so that `rateLimitExceeded`, `rate_limit_exceeded` and `RateLimitExceeded` are one) or at the
sentences (lower case, no URLs, single spaces). The order is the meaning:

1. codes that cannot be misread;
2. wordings whose meaning holds whatever the status (a spent quota, an overflow, a safety block);
3. wordings that need the right status beside them;
4. codes that are sent for many causes.

After that the status decides (`classify_status`), and last what the vaguest codes say.
Patterns are general by design: no rule quotes a whole message. Gaps are bounded, so matching is linear.
"""

from __future__ import annotations

from typing import Final

import attrs

from resilient_llm.errors import ErrorCode

from . import classify_words_account as account
from . import classify_words_request as request
from . import classify_words_server as server

SERVER: Final = frozenset({200, 424, *range(500, 600)})
"""Statuses that say nothing about the cause: servers send them for their own faults and for the caller's."""


@attrs.frozen
class Rule:
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


_C = ErrorCode

RULES: Final = (
    # -- codes that cannot be misread
    Rule(
        _C.MODEL_CONTEXT_LENGTH,
        codes=r"context(?:length|window|size|limit)|maxprompttokens|toomanyprompttokens|prompttoolong"
        r"|inputtoolong"
        "|maxtokensperrequest|contextoverflow|outofcontext",
    ),
    # Google's quota ids name the window; its sentence about plan and billing is the same for all of them
    Rule(_C.MODEL_RATE_LIMITED, codes="per(?:second|minute|hour|day|week)", unless=r"limit: 0\b"),
    Rule(
        _C.MODEL_RATE_LIMITED,
        codes="^resourceexhausted$",
        words="exceeded your current quota",
        unless=r"credits|prepa|spend|limit: 0\b",
    ),
    Rule(
        _C.MODEL_QUOTA_EXCEEDED,
        codes=r"insufficient(?:account|user)?(?:quota|balance|credit|fund)|^billing"
        r"|credit(?:s)?(?:limit|balance|exhaust|required)"
        r"|paymentrequired|^arrear|exceededcurrentquota|outofcredit|budgetexceeded|spend(?:ing)?limit"
        r"|accountoverdue"
        "|freetieronly|prepa(?:id|y)|monthlylimit|notenoughcredit|quotanotenough|balancenotenough|nocredit",
        unless=account.WINDOWED,
    ),
    Rule(
        _C.MODEL_AUTH,
        codes="modelnotfound|modelaccess",
        words="",
        also=r"(?:not|n't) have access|no access",
        unless="not exist",
        status=frozenset({401, 403}),
    ),
    Rule(
        _C.MODEL_CONTENT_FILTERED,
        codes=r"contentfilter|responsibleaipolicy|contentpolicy|moderationblock|moderationfail"
        r"|datainspection|safetyviolation"
        r"|promptblocked|prohibitedcontent|usagepolicy|policyviolation|contentblocked|contentsafety"
        r"|sensitivecontent|guardrailviolat",
    ),
    Rule(
        _C.MODEL_RESPONSE_INVALID,
        codes=r"toolusefailed|jsonvalidatefailed|outputparse|failedgeneration|malformedfunctioncall"
        r"|invalidmodeloutput",
    ),
    Rule(
        _C.MODEL_NOT_FOUND,
        codes=r"(?:model|deployment|engine)s?(?:id)?(?:isnot|not|doesnot|no)(?:found|exist|available|supported|loaded|deployed)"
        r"|modeldecommission|modeldeprecat|modelretired|unknownmodel|invalidmodel(?!output|parameter)"
        r"|nosuchmodel|modelremoved|nomodel",
        unless=server.OVERLOAD,
    ),
    Rule(
        _C.MODEL_AUTH,
        codes=r"invalid(?:api)?key|apikey(?:invalid|missing|expired|notfound)|incorrectapikey|missingapikey"
        r"|unsupportedcountry|unrecognizedclient"
        r"|(?:invalid|expired|missing)(?:access|security|auth|authentication)?token"
        r"|signaturedoesnotmatch|incompletesignature"
        "|invalidsignature|invalidclienttoken|invalidauth|consumerinvalid",
        unless=account.QUOTA,
    ),
    # -- wordings that hold whatever the status
    Rule(
        _C.MODEL_RATE_LIMITED,
        words=account.WINDOWED,
        unless=request.BYTES,
        status=frozenset({200, 400, 403, 413, 420, 429, *range(500, 600)}),
    ),
    Rule(_C.MODEL_QUOTA_EXCEEDED, words=account.QUOTA),
    Rule(_C.MODEL_RESPONSE_INVALID, words=server.GENERATED),
    Rule(_C.MODEL_PAYLOAD_TOO_LARGE, words=request.BYTES, also=request.EXCESS),
    Rule(_C.MODEL_CONTEXT_LENGTH, words=request.OVERFLOW),
    Rule(
        _C.MODEL_CONTEXT_LENGTH,
        words=request.CONTEXT,
        also=request.EXCESS,
        unless=request.NO_REQUEST,
        status=frozenset({200, 400, 413, 422, *range(500, 600)}),
    ),
    Rule(
        _C.MODEL_CONTEXT_LENGTH,
        words=request.CAP,
        unless=request.NO_REQUEST,
        status=frozenset({200, 400, 413, 422, 500}),
    ),
    # -- codes that name a mistake in the request
    Rule(
        _C.MODEL_INVALID_REQUEST,
        codes=r"^(?:unsupported(?:parameter|value)|invalid(?:type|value|parameter|functionparameters|jsonschema|image|imageurl|imageformat|base64)"
        r"|missingrequiredparameter|unknownparameter|missing"
        r"|(?:integer|decimal|array|string|number|object)(?:above|below)|extraforbidden"
        r"|nonexistentparameter)",
        unless=f"{request.FILTER}|{request.NO_MODEL}|{request.SIZE}|{account.KEYS}|{account.QUOTA}",
    ),
    Rule(_C.MODEL_AUTH, words=account.LOCKED),
    Rule(
        _C.MODEL_CONTENT_FILTERED, words=request.FILTER, unless=r"no endpoints|data policy|attention required"
    ),
    Rule(_C.MODEL_UNAVAILABLE, words=server.REFUSED_LOAD, retryable=False),
    Rule(
        _C.MODEL_LOADING,
        words=server.LOADING,
        status=frozenset({200, 400, 404, 409, 425, 429, *range(500, 600)}),
    ),
    Rule(
        _C.MODEL_OVERLOADED,
        codes="overload|queuefull|serverbusy|enginebusy|modelcapacity|nocapacity|capacityexceeded",
    ),
    Rule(_C.MODEL_LOADING, codes="modelnotready|modelloading|loadingmodel"),
    Rule(_C.MODEL_UNAVAILABLE, words=server.UNREACHABLE),
    Rule(
        _C.MODEL_OVERLOADED,
        words=server.OVERLOAD,
        status=frozenset({200, 400, 403, 408, 413, 424, 429, 498, *range(500, 600)}),
    ),
    Rule(
        _C.MODEL_AUTH,
        words=f"{account.KEYS}|{account.REGION}",
        unless="rate limit|too many",
        status=frozenset({200, 400, 401, 403, 404, 422, 500}),
    ),
    Rule(_C.MODEL_INVALID_REQUEST, words=request.WRONG_PATH),
    Rule(_C.MODEL_NOT_FOUND, words=request.NO_MODEL),
    Rule(_C.MODEL_RATE_LIMITED, words=account.THROTTLE),
    Rule(
        _C.MODEL_UNAVAILABLE,
        words=server.CRASH,
        status=frozenset({200, 400, 408, 422, 424, 429, *range(500, 600)}),
    ),
    Rule(
        _C.MODEL_TIMEOUT,
        words=server.TIMEOUT,
        status=frozenset({200, 400, 408, 424, 429, *range(500, 600)}),
        unless=r"invalid|must be",
    ),
    Rule(_C.MODEL_PAYLOAD_TOO_LARGE, words=request.SIZE),
    Rule(_C.MODEL_AUTH, words=account.CREDENTIALS, status=frozenset({200, 400, 401, 403, 500})),
    Rule(_C.MODEL_INVALID_REQUEST, words=request.INVALID, status=SERVER),
    # -- codes that are sent for many causes
    Rule(
        _C.MODEL_RATE_LIMITED,
        codes=r"ratelimit|throttl|toomanyrequest|quotaexceeded|resourceexhausted|resourcehasbeenexhausted"
        r"|limitexceeded",
    ),
    Rule(
        _C.MODEL_AUTH,
        codes=r"authentication|unauthori|unauthenticated|forbidden|permission|accessdenied|authorization"
        r"|notauthorized|apikey",
    ),
    Rule(_C.MODEL_TIMEOUT, codes="timeout|timedout|deadlineexceeded"),
    Rule(_C.MODEL_PAYLOAD_TOO_LARGE, codes="toolarge|stringabovemaxlength"),
)

LAST: Final = (
    # what is left when neither wording nor status told the cause: mostly failures inside a stream
    Rule(_C.MODEL_NOT_FOUND, codes="notfound"),
    Rule(
        _C.MODEL_INVALID_REQUEST,
        codes="invalid|badrequest|validation|unprocessable|unsupported|notimplemented|notsupported|malformed",
    ),
    Rule(_C.MODEL_OVERLOADED, codes="unavailable|capacity"),
    Rule(
        _C.MODEL_UNAVAILABLE,
        codes="server|internal|apierror|gateway|connection|backend|provider|upstream|engine",
    ),
)

STATUSES: Final = {
    **dict.fromkeys(
        (400, 404, 405, 406, 411, 412, 415, 416, 417, 421, 422, 426, 428, 501, 505), _C.MODEL_INVALID_REQUEST
    ),
    **dict.fromkeys((401, 403, 407, 451, 511), _C.MODEL_AUTH),
    402: _C.MODEL_QUOTA_EXCEEDED,
    **dict.fromkeys((408, 460, 504, 522, 524, 598, 599), _C.MODEL_TIMEOUT),
    410: _C.MODEL_NOT_FOUND,
    **dict.fromkeys((413, 414, 431), _C.MODEL_PAYLOAD_TOO_LARGE),
    **dict.fromkeys((420, 429), _C.MODEL_RATE_LIMITED),
    # 498: Groq's flex tier has no capacity left; 529: Anthropic
    **dict.fromkeys((423, 498, 503, 529), _C.MODEL_OVERLOADED),
}


def classify_status(status: int) -> ErrorCode | None:
    """What a status means when nothing else tells; None for those of success."""
    if (code := STATUSES.get(status)) is not None:
        return code
    if 400 <= status < 500:
        # 409, 424, 425 and 499 are conflicts of the moment
        return _C.MODEL_UNAVAILABLE if status in {409, 424, 425, 499} else _C.MODEL_INVALID_REQUEST
    return _C.MODEL_UNAVAILABLE if status >= 500 else None
