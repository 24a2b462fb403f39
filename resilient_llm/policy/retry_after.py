"""How long the backend asks to wait: from its headers, its fields, or its sentence.

The headers win over the body; `retry-after-ms` is read first, as the OpenAI SDK does, but a zero there beside a
positive `retry-after` is passed over (Azure sends that pair). Of two figures in a body the finer one is taken.
The reset headers of rate limits are not read here: they pace, they do not ask.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_UNITS: Final[Mapping[str, float]] = {
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "ns": 1e-9,
}
_UNIT: Final = (
    r"(?:(?P<{0}ms>ms\b|msecs?\b|milliseconds?|毫秒)|(?P<{0}us>[uµμ]s\b|microseconds?)|(?P<{0}ns>ns\b|nanoseconds?)"
    r"|(?P<{0}d>d\b|days?|天)|(?P<{0}h>h(?![a-z])|hrs?|hours?|小时)|(?P<{0}m>m(?![a-z])|mins?|minutes?|分钟)"
    r"|(?P<{0}s>s(?![a-z])|secs?|seconds?|秒))"
)
_NUMBER: Final = r"\d{1,9}(?:\.\d{1,9})?"
_DURATION: Final = (
    rf"{_NUMBER}\s?{_UNIT.format('a')}(?:[\s,]{{0,2}}(?:and\s)?{_NUMBER}\s?{_UNIT.format('b')}){{0,4}}"
)
_ASKING: Final = (
    r"(?:(?:try|retry|retrying|request|send|available|resets?|come back)"
    r"(?: (?:again|it|your request|this request|the request|later))?"
    r"|wait(?: for)?(?: at least)?|retry[-_ ]?after|retry[-_ ]?delay|cool[- ]?down|重试|等待|请在)"
    r"[\"']?(?: (?:again|in|after|for|time|of|period)){0,4}\s{0,2}[:=]?\s{0,2}[\"']?"
    r"(?:(?:about|approximately|another|around|~)\s?)?"
)

Figure = tuple[int, float]
"""How many decimals a wait was given with, and the wait in seconds."""


@cache
def _asked() -> re.Pattern[str]:
    return re.compile(rf"{_ASKING}(?P<duration>{_DURATION})", re.IGNORECASE)


@cache
def _bare() -> re.Pattern[str]:
    return re.compile(
        rf"retry[-_ ]?after[\"']?\s{{0,2}}[:=]?\s{{0,2}}[\"']?(?P<bare>{_NUMBER})(?![\w.])", re.IGNORECASE
    )


@cache
def _element() -> re.Pattern[str]:
    return re.compile(rf"(?P<number>{_NUMBER})\s?{_UNIT.format('')}", re.IGNORECASE)


def parse_duration(text: str) -> float | None:
    """Read a duration such as `6m0s`, `1.2s`, `644ms`, `2 seconds` or a bare number of seconds, in seconds."""
    figure = _figure(text)
    return None if figure is None else figure[1]


def _figure(text: str) -> Figure | None:
    total, decimals, found = 0.0, 0, False
    for match in _element().finditer(text[:100]):
        unit = next(name for name, value in match.groupdict().items() if value and name != "number")
        total += float(match["number"]) * _UNITS[unit]
        places = len(match["number"].partition(".")[2]) + {"ms": 3, "us": 6, "ns": 9}.get(unit, 0)
        decimals, found = max(decimals, places), True
    if found:
        return decimals, total
    number = _seconds(text)
    return None if number is None else (len(text.strip().partition(".")[2]), number)


def _seconds(text: str) -> float | None:
    """A finite number of at least 0, else None."""
    try:
        number = float(text[:32])
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


@cache
def _date() -> re.Pattern[str]:
    # RFC 9110: Sun, 06 Nov 1994 08:49:37 GMT; and the obsolete Sunday, 06-Nov-94 08:49:37 GMT
    return re.compile(r"(\d{1,2})[ -]([A-Za-z]{3})[ -](\d{2,4})\s(\d{2}):(\d{2}):(\d{2})")


def parse_date(text: str) -> float | None:
    """Read an HTTP date as epoch seconds."""
    match = _date().search(text[:100])
    if match is None or match[2].lower() not in _MONTHS:
        return None
    year = int(match[3]) + (2000 if len(match[3]) == 2 else 0)
    day, hour, minute, second = (int(match[at]) for at in (1, 4, 5, 6))
    try:
        moment = datetime(year, _MONTHS.index(match[2].lower()) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp()


def delay_from_headers(headers: Mapping[str, str], now: float | None) -> float | None:
    """Read the wait that the headers ask for, in seconds.

    A date counts from the answer's own `date`, which no wrong clock disturbs, or else from `now`; a past one is 0.

    Args:
        headers: Names in lower case.
        now: Wall time in epoch seconds; None leaves a date without a `date` beside it unread.
    """
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    stated = headers.get("retry-after", "").strip()
    seconds = parse_duration(stated) if stated[:1].isdigit() and "-" not in stated else None
    if seconds is None and (until := parse_date(stated)) is not None:
        start = parse_date(headers.get("date", ""))
        start = now if start is None else start
        seconds = None if start is None else max(0.0, until - start)
    if milliseconds is None or (milliseconds == 0 and seconds):
        return seconds
    return milliseconds / 1000


def delay_from_text(text: str, fields: Iterable[str] = ()) -> float | None:
    """Find the wait that a body asks for, in seconds.

    Args:
        text: The sentence: "Please try again in 1.2s".
        fields: Values of fields that hold nothing but a duration: Google's `retryDelay`, `retry_after`.
    """
    figures = [figure for match in _asked().finditer(text) if (figure := _figure(match["duration"]))]
    figures += [figure for match in _bare().finditer(text) if (figure := _figure(match["bare"]))]
    figures += [figure for field in fields if (figure := _figure(field))]
    return max(figures, key=lambda figure: figure[0])[1] if figures else None
