"""Names of the fields that error bodies are made of, reduced to letters and digits in lower case."""

from __future__ import annotations

from typing import Final

TEXTS: Final = frozenset(
    {
        "message",
        "msg",
        "error",
        "errormessage",
        "errormsg",
        "errordescription",
        "statusmsg",
        "detail",
        "details",
        "description",
        "title",
        "reason",
        "raw",
        "explanation",
        "info",
        "err",
        "body",
        "text",
        "failure",
        "cause",
        "hint",
        "fault",
        "exceptionmessage",
        "statustext",
        "errors",
        "response",
        "statusmessage",
        "resultmsg",
        "blockreasonmessage",
    }
)
"""Fields that hold a sentence."""

CODES: Final = frozenset(
    {
        "code",
        "type",
        "status",
        "reason",
        "errorcode",
        "errortype",
        "errtype",
        "errcode",
        "statuscode",
        "httpstatuscode",
        "httpstatus",
        "httpcode",
        "name",
        "errorname",
        "exception",
        "exceptiontype",
        "class",
        "kind",
        "fault",
        "subcode",
        "resultcode",
        "object",
        "blockreason",
        "limitname",
        "quotaid",
        "quotametric",
    }
)
"""Fields that hold a code, a type or a reason."""

DELAYS: Final = frozenset(
    {
        "retrydelay",
        "retryafter",
        "retryafterseconds",
        "retryaftersecondsraw",
        "resetsinseconds",
        "retryafterms",
        "retryinseconds",
    }
)
"""Fields that hold a wait."""

FIGURES: Final = frozenset(
    {
        "nctx",
        "npromptkeep",
        "nprompttokens",
        "nkeep",
        "contextlength",
        "maxcontextlength",
        "contextwindow",
        "maxmodellen",
        "prompttokens",
        "inputtokens",
        "requestedtokens",
        "maxtokensallowed",
    }
)
"""Fields that hold a number of tokens."""

QUOTES: Final = frozenset(
    {
        "input",
        "ctx",
        "messages",
        "prompt",
        "choices",
        "candidates",
        "usage",
        "usagemetadata",
        "tools",
        "failedgeneration",
        "request",
        "headers",
        "params",
        "contentfilterresult",
        "contentfilterresults",
        "promptfilterresults",
        "config",
        "stack",
        "stacktrace",
        "traceback",
        "body_schema",
    }
)
"""Fields that quote the request or an answer, and are not read."""
