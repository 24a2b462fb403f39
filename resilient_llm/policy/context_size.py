"""The two numbers of an overflow: how much the model takes, and how much was asked of it, in tokens.

Fields are believed first; then the sentence is searched for phrases in which the limit stands, for phrases in which
the size of the request stands, and for prompt and completion given apart, whose sum is the request. A cap on the
completion alone is no window, and an excess alone is no size: neither yields a number.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_N: Final = r"\(?[~≈]?(\d{1,3}(?:[,_'  ]\d{3}){1,3}|\d{1,10})(?![\d%]|\.\d)"

_PAIRS: Final = (
    # 178959 + 64000 > 200000
    rf"{_N}(?: tokens)? \+ {_N}(?: tokens)? (?:>|exceeds?) {_N}",
)

_PARTS: Final = (
    # prompt and completion apart
    rf"{_N}(?: `?inputs?`?)? tokens and {_N} `?max_(?:new_)?tokens",
    rf"passed {_N} (?:input )?(?:tokens|characters?) and requested {_N} (?:output )?tokens",
    rf"contains? {_N} tokens and {_N} draft tokens",
    (
        rf"prompt (?:contains|has|of|is) {_N} (?:input )?tokens.{{0,40}}"
        rf"(?:max_tokens|completion|output)\w{{0,8}} (?:of |is |= ?)?{_N}"
    ),
    rf"too large: {_N}\. .{{0,120}}your request has {_N} input tokens",
    rf"{_N} tokens (?:from|in|of|for) the (?:input|prompt|messages)\w{{0,10}}(?: messages)? and {_N} tokens",
    rf"input \({_N}(?: tokens)?\) (?:and|\+) (?:output|completion|max_\w{{1,14}}) \({_N}",
    (
        rf"prompt (?:tokens|length|size)[ :=]{{1,3}}{_N}.{{0,30}}"
        rf"(?:max_tokens|completion tokens|output tokens)[ :=]{{1,3}}{_N}"
    ),
)

_ABOUT: Final = r"(?: of)?(?: about| at least| a total of| approximately| up to| is| for|:)?"

_TOTALS: Final = (
    rf"= ?{_N}(?: tokens)? (?:exceeds|>|is (?:greater|larger|more))",
    rf"(?:requested|requesting){_ABOUT} {_N}(?! (?:output|completion|new)\b)",
    (
        rf"(?:result(?:ed|s)? in|totals?|totalling|received|given|got|passed|used|estimated|actual){_ABOUT} {_N}"
        r"(?! (?:output|messages|images))"
    ),
    (
        r"(?:prompt|request|inputs?|messages?|conversation|it|you|text|sequence|query|payload)(?: currently| now)?"
        r" (?:has|have|had|is|are|was|contains?|of|with|resulted in|uses?|consists of|sent)"
        rf"{_ABOUT} {_N}(?: input| prompt| text)? tokens"
    ),
    rf"(?:request|input|prompt|messages?|text|query|sequence|conversation|document) {_N} ?tokens",
    rf"(?:request|input|prompt)s? contains? {_N}(?! char)",
    rf"(?:token|tokens) count(?: of)?(?: is|:)? {_N}",
    (
        r"(?:input|prompt|current|sequence|total|request|message)[ _](?:tokens?|length|size|count)[ _]?(?:tokens)?"
        rf"(?: of| is|:|=| \()? ?{_N}(?! is the (?:max|limit))"
    ),
    rf"too long(?: for [\w./-]{{1,60}})?[:;,]? {_N}",
    rf"n_keep[: (]{{1,3}}{_N}",
    rf"first {_N} tokens",
    rf"number of (?:input |prompt )?tokens(?: in the (?:prompt|input|request))? {_N}",
    rf"(?:the )?prompt \(length {_N}",
    rf"\(?requested: ?{_N}",
    rf"{_N} (?:input |prompt )?tokens? (?:>|exceeds?|(?:is|are) (?:longer|larger|greater|more)|were (?:given|sent))",
    rf"value={_N}",
    rf"{_N} > \d",
)

_LIMITS: Final = (
    (
        r"(?:maximum|max|allowed|configured|available)(?: \w{1,12}){0,4}? (?:length|window|size|limit|tokens|count)"
        rf"(?: of| is| was|:)?(?: only)? {_N}"
    ),
    rf">=? ?{_N}(?: tokens)?(?: maximum| limit| tokens|[\s,.)]|$)",
    rf"n_ctx[: (=]{{1,3}}{_N}",
    (
        r"(?:maximum|max|model|configured|available|total|loaded|supported)?[ _'s-]*"
        r"(?:context|sequence|prompt|input|model|token|tokens|request)"
        r"[ _-](?:window|length|size|limit|len|budget|maximum)(?: length| size| limit)?(?: for (?:this|the) model)?"
        r"(?: (?:of|is|was|are|at|set to|limited to|to be))?(?: configured as| currently| only| a maximum of)*"
        rf"(?: \(|:|=| =)? ?{_N}"
    ),
    rf"with (?:a |an )?(?:maximum )?(?:context )?(?:length|window|size) (?:of )?(?:only )?{_N}",
    rf"{_N}(?:[ -]tokens?)? (?:maximum|max|context|input|token|total)[ -](?:context|window|length|limit|tokens?)",
    (
        r"(?:max_model_len|max_seq_len|max_num_tokens|max_position_embeddings|max_input_length|max_input_tokens"
        rf"|max_total_tokens|maximum model length)\W{{1,4}}(?:of |is |= ?)?{_N}"
    ),
    rf"maximum (?:\w{{1,12}} ){{0,5}}(?:is|of|allowed|:)(?: only)?:? {_N}",
    rf"maximum number of (?:\w{{1,12}} ){{0,3}}tokens (?:\w{{1,12}} ){{0,3}}{_N}",
    rf"(?:cannot|can't|must not|should not|may not|not) exceed(?: the)?(?: limit of| maximum of)? {_N}",
    (
        r"(?:exceeds?|exceeded|exceeding|over|above|beyond|within)(?: \w{1,12}){0,8}?"
        rf"(?: limit| maximum| length| window| size| of| is)? {_N}(?! tokens\. (?:please|the))"
    ),
    rf"(?:limit|maximum|max|allowed)(?: for (?:this|the) model| of tokens)?(?: is| of|:|=| \()? ?{_N}",
    (
        r"(?:less than(?: or equal to)?|at most|no more than|fewer than|up to|<=|<|supports only|supports)"
        rf" {_N}"
    ),
    rf"\[ ?[01], ?{_N}\]",
    rf"limit is {_N}",
    rf"max length: ?{_N}",
    rf"batch size: {_N}",
    rf"(?:最大|上限|限制|不(?:能|得)超过|超过|超出)[^\d]{{0,12}}{_N}",
)

_CAP: Final = (
    r"maximum tokens you requested"
    r"|(?:completion|output|new)[ _]tokens?(?:`|'|\")?(?: for| allowed| is| must| of|, )|range of max_"
    r"|^[^a-z]{0,4}max_?\w{0,14}tokens.{0,40}(?:must be|too (?:large|high|big)|range|> ?\d|should be|greater|cannot)"
    r"|max_?(?:new|output|completion)_?tokens.{0,20}(?:must be|range|exceed)|at most [\d,]{1,13} (?:completion|output)"
)
"""Sentences about the completion's own cap; no window is in them, unless they name the context too."""

_EXCESS: Final = r"exceed\w{0,4} (?:\w{1,12} ){0,5}by \(?[\d,]{1,12}(?: tokens)?"
"""How much too long, which is neither number."""


class Overflow(NamedTuple):
    """The sizes of an overflow in tokens; None where the backend did not say."""

    limit: int | None = None
    requested: int | None = None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _int(digits: str) -> int:
    return int("".join(filter(str.isdigit, digits)))


def _first(patterns: tuple[str, ...], text: str) -> int | None:
    for pattern in patterns:
        if match := _compiled(pattern).search(text):
            return _int(match[1])
    return None


def _other(patterns: tuple[str, ...], text: str, than: int | None) -> int | None:
    """The first number that is not the other one; else the first."""
    found = (_int(match[1]) for pattern in patterns for match in _compiled(pattern).finditer(text))
    first = None
    for number in found:
        if number != than:
            return number
        first = number
    return first


def _sum(text: str) -> int | None:
    for pattern in _PARTS:
        if match := _compiled(pattern).search(text):
            return _int(match[1]) + _int(match[2])
    return None


def _from_fields(figures: Mapping[str, int]) -> Overflow:
    limit = figures.get("nctx") or figures.get("maxcontextlength") or figures.get("maxmodellen")
    limit = limit or figures.get("contextlength") or figures.get("contextwindow")
    requested = figures.get("nprompttokens") or figures.get("requestedtokens") or figures.get("prompttokens")
    return Overflow(limit, requested or figures.get("inputtokens"))


def read_overflow(text: str, figures: Mapping[str, int]) -> Overflow:
    """Read the sizes out of an overflow's fields and wording.

    Args:
        text: The sentences in lower case.
        figures: Numeric fields by their squeezed names.
    """
    stated = _from_fields(figures)
    if stated.limit and stated.requested:
        return stated
    for pattern in _PAIRS:
        if match := _compiled(pattern).search(text):
            return Overflow(_int(match[3]), _int(match[1]) + _int(match[2]))
    text = text.replace("input validation error", "")
    if _compiled(_CAP).search(text) and not _compiled(r"context|input|prompt").search(text):
        return stated
    text = _compiled(_EXCESS).sub(" ", text)
    if "token" not in text:  # then a number in brackets is an error's
        text = _compiled(r"limit \(\d{1,5}\)").sub(" ", text)
    requested = stated.requested or _sum(text) or _first(_TOTALS, text)
    return Overflow(stated.limit or _other(_LIMITS, text, requested), requested)
