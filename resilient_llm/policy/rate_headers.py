"""What a backend's headers tell of its rate limits. Total: any header text gives limits or none, never an error.

- OpenAI, Groq and those who follow them: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, the reset a duration
  (`6m0s`, `88ms`, `17.563999999s`).
- Anthropic: `anthropic-ratelimit-{requests,...}-{limit,remaining,reset}`, the reset an instant (RFC 3339, whole
  seconds).
- Cerebras: OpenAI's names and a period behind them, the reset in seconds.
- Together, OpenRouter, gateways: `x-ratelimit-limit` and its siblings, or those of the IETF's draft, the reset in
  seconds, epoch seconds or epoch milliseconds.

A limit without its reset (Azure, Mistral) tells of no time and is left out.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from .buckets import Count
from .retry_after import parse_date, parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

EPOCH: Final = 1e8
"""Three years; a larger number of seconds is no duration but an instant."""

EPOCH_MILLISECONDS: Final = 1e11
"""A larger instant is one in milliseconds."""


@attrs.frozen
class Told:
    """One limit as the headers told it.

    Args:
        name: The header that told what remains; the limit's identity.
        counts: What is limited.
        limit: How much there is in all.
        remaining: How much is left.
        reset: Seconds until all of it is back.
        steady: Does it come back little by little, or all at once at the reset?
    """

    name: str
    counts: Count
    limit: float
    remaining: float
    reset: float
    steady: bool


class _Row(NamedTuple):
    remaining: str
    limit: str
    reset: str
    counts: Count
    steady: bool


def _openai(what: str, counts: Count, *, steady: bool) -> _Row:
    remaining, limit, reset = (f"x-ratelimit-{word}-{what}" for word in ("remaining", "limit", "reset"))
    return _Row(remaining, limit, reset, counts, steady)


def _anthropic(what: str, counts: Count) -> _Row:
    remaining, limit, reset = (
        f"anthropic-ratelimit-{what}-{word}" for word in ("remaining", "limit", "reset")
    )
    return _Row(remaining, limit, reset, counts, steady=True)


_ROWS: Final = (
    _openai("requests", Count.REQUESTS, steady=True),
    _openai("tokens", Count.TOKENS, steady=True),
    _openai("project-requests", Count.REQUESTS, steady=True),
    _openai("project-tokens", Count.TOKENS, steady=True),
    _anthropic("requests", Count.REQUESTS),
    _anthropic("input-tokens", Count.INPUT),
    _anthropic("output-tokens", Count.OUTPUT),
    _anthropic("tokens", Count.TOKENS),
    *(_openai(f"requests-{span}", Count.REQUESTS, steady=False) for span in ("minute", "hour", "day")),
    *(_openai(f"tokens-{span}", Count.TOKENS, steady=False) for span in ("minute", "hour", "day")),
    _Row("x-ratelimit-remaining", "x-ratelimit-limit", "x-ratelimit-reset", Count.REQUESTS, steady=False),
    _Row("ratelimit-remaining", "ratelimit-limit", "ratelimit-reset", Count.REQUESTS, steady=False),
)
_NAMES: Final = tuple(row.remaining for row in _ROWS)
_SPLIT: Final = "anthropic-ratelimit-input-tokens-remaining"
_SUM: Final = "anthropic-ratelimit-tokens-remaining"


def tell_limits(headers: Mapping[str, str]) -> bool:
    """Do the headers tell of any limit? In less than a microsecond, for most tell of none."""
    for name in _NAMES:  # noqa: SIM110 - a generator would double its time
        if name in headers:
            return True
    return False


def read_limits(headers: Mapping[str, str], now: float | None) -> list[Told]:
    """Read the limits that are told in full.

    Args:
        headers: Names in lower case, or a mapping that does not mind.
        now: Wall time in epoch seconds, for instants; the answer's own `date` goes before it.
    """
    told = [found for row in _ROWS if row.remaining in headers and (found := _read(row, headers, now))]
    if _SPLIT in headers:  # their sum is told beside them, but there is no limit on it
        told = [found for found in told if found.name != _SUM]
    return told


def _read(row: _Row, headers: Mapping[str, str], now: float | None) -> Told | None:
    limit, remaining = _number(headers.get(row.limit)), _number(headers.get(row.remaining))
    if not limit or remaining is None:
        return None
    reset = _reset(headers.get(row.reset, "").strip()[:64], headers, now)
    if reset is None:
        return None
    return Told(row.remaining, row.counts, limit, min(remaining, limit), reset, row.steady)


_LEADING = re.compile(r"\s*(\d{1,15})(?:\.\d{0,9})?\s*(?:[,;]|$)")


def _number(text: str | None) -> float | None:
    """The number at the beginning: some gateways append the windows, as in `100, 100;window=60`."""
    match = _LEADING.match(text) if text else None
    return float(match[1]) if match else None


def _reset(text: str, headers: Mapping[str, str], now: float | None) -> float | None:
    """Seconds until the reset, from a duration or an instant."""
    if not text[:1].isdigit():
        instant = parse_date(text)
    elif re.match(r"\d{4}-\d\d-\d\d", text):
        instant = _instant(text)
    else:
        duration = _duration(text)
        if duration is None or duration < EPOCH:
            return duration
        instant = duration / 1000 if duration >= EPOCH_MILLISECONDS else duration
    date = parse_date(headers.get("date", ""))
    now = now if date is None else date
    if instant is None or now is None:
        return None
    return max(0.0, instant - now) + 1.0  # both are cut to whole seconds


def _duration(text: str) -> float | None:
    """Seconds: a single figure, as nearly all are, in a tenth of the time that any text takes."""
    scale, figure = (0.001, text[:-2]) if text.endswith("ms") else (1.0, text.removesuffix("s"))
    try:
        seconds = float(figure) * scale
    except ValueError:
        return parse_duration(text)
    return seconds if math.isfinite(seconds) else None


def _instant(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
