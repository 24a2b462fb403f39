"""The codes, types and reasons that backends put into fields, one constant a concept.

Patterns over names reduced to letters and digits in lower case: `rateLimitExceeded`, `rate_limit_exceeded` and
`RateLimitExceeded` are one. The first group cannot be misread; the second is sent for many causes and asked late.
"""

from __future__ import annotations

from typing import Final

CONTEXT: Final = (
    r"context(?:length|window|size|limit)|maxprompttokens|toomanyprompttokens|prompttoolong|inputtoolong"
    r"|maxtokensperrequest|contextoverflow|outofcontext"
)

WINDOWED: Final = r"per(?:second|minute|hour|day|week)"
"""Google's quota ids name the window."""

QUOTA: Final = (
    r"insufficient(?:account|user)?(?:quota|balance|credit|fund)|^billing|credit(?:s)?(?:limit|balance|exhaust|required)"
    r"|paymentrequired|^arrear|exceededcurrentquota|outofcredit|budgetexceeded|spend(?:ing)?limit|accountoverdue"
    r"|freetieronly|prepa(?:id|y)|monthlylimit|notenoughcredit|quotanotenough|balancenotenough|nocredit"
)

FILTER: Final = (
    r"contentfilter|(?:cyber|bio|content|usage|safety|moderation)(?:usage)?policy|responsibleaipolicy|moderationblock"
    r"|moderationfail|datainspection|safetyviolation|promptblocked|prohibitedcontent|policyviolation|contentblocked"
    r"|contentsafety|sensitivecontent|guardrailviolat"
)

GENERATED: Final = (
    r"toolusefailed|jsonvalidatefailed|outputparse|failedgeneration|malformedfunctioncall|invalidmodeloutput"
)

NO_MODEL: Final = (
    r"(?:model|deployment|engine)s?(?:id)?(?:isnot|not|doesnot|no)(?:found|exist|available|supported|loaded|deployed)"
    r"|modeldecommission|modeldeprecat|modelretired|unknownmodel|invalidmodel(?!output|parameter)|nosuchmodel"
    r"|modelremoved|nomodel"
)

KEYS: Final = (
    r"invalid(?:api)?key|apikey(?:invalid|missing|expired|notfound)|incorrectapikey|missingapikey|unsupportedcountry"
    r"|unrecognizedclient|(?:invalid|expired|missing)(?:access|security|auth|authentication)?token"
    r"|signaturedoesnotmatch|incompletesignature|invalidsignature|invalidclienttoken|invalidauth|consumerinvalid"
)

INVALID: Final = (
    r"^(?:availabletools|unsupported(?:parameter|value)|invalid(?:type|value|parameter|functionparameters|jsonschema|image|base64)"
    r"|missing|unknownparameter|nonexistentparameter|extraforbidden|(?:integer|decimal|array|string|number|object)(?:above|below))"
)

OVERLOAD: Final = r"overload|queuefull|serverbusy|enginebusy|modelcapacity|nocapacity|capacityexceeded"

LOADING: Final = r"modelnotready|modelloading|loadingmodel"

THROTTLE: Final = (
    r"ratelimit|throttl|toomanyrequest|quotaexceeded|resourceexhausted|resourcehasbeenexhausted|limitexceeded"
)

DENIED: Final = r"authenticat|unauthori|forbidden|permission|accessdenied|authorization|notauthorized|apikey"

TIMEOUT: Final = r"timeout|timedout|deadlineexceeded"

SIZE: Final = r"toolarge|stringabovemaxlength"

VAGUE_INVALID: Final = (
    r"invalid|badrequest|validation|unprocessable|unsupported|notimplemented|notsupported|malformed"
)

VAGUE_SERVER: Final = r"server|internal|apierror|gateway|connection|backend|provider|upstream|engine"
