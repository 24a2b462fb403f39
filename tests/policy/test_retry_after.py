"""The wait that a backend asks for."""

from __future__ import annotations

import pytest

from resilient_llm.policy.classify import classify
from resilient_llm.policy.retry_after import delay_from_headers, delay_from_text, parse_date, parse_duration

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
MOMENT = 784111777.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("1.2s", 1.2),
        ("644ms", 0.644),
        ("114h18m0s", 411480),
        ("2 seconds", 2),
        ("1 minute and 5 seconds", 65),
        ("1d", 86400),
        ("500us", 0.0005),
        ("12ns", 1.2e-08),
        ("30", 30),
        ("0", 0),
        ("7.66", 7.66),
        ("3 分钟", 180),
        ("5s".rjust(100), 5),
        ("5s".rjust(101), None),
        ("5".zfill(32), 5),
        ("5".zfill(33), 0),
        ("soon", None),
        ("", None),
        ("inf", None),
        ("nan", None),
        ("-5", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    """Go's durations, plain words and bare seconds are understood; anything else is no duration."""
    assert parse_duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (DATE, MOMENT),
        ("Sunday, 06-Nov-94 08:49:37 GMT", MOMENT + 100 * 365.25 * 86400),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ("tomorrow", None),
        (DATE[:25].rjust(100), MOMENT),
        (DATE[:25].rjust(101), None),
    ],
)
def test_dates(text: str, moment: float | None) -> None:
    """HTTP's dates become epoch seconds; a two-digit year is of this century."""
    assert parse_date(text) == (None if moment is None else pytest.approx(moment, abs=86400))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "20s"}, 20),
        ({"retry-after": "in 20s"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "0", "retry-after": "9"}, 9),
        ({"retry-after-ms": "0"}, 0),
        ({"retry-after-ms": "soon", "retry-after": "soon"}, None),
        ({"retry-after-ms": "nan", "retry-after": "-1"}, None),
        ({"retry-after": "2026-01-01T00:00:00Z"}, None),
        ({"x-ratelimit-reset-tokens": "6m0s"}, None),
    ],
)
def test_headers(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds win over seconds, unless they are zero beside a real wait; nonsense asks for nothing."""
    assert delay_from_headers(headers, None) == seconds


def test_a_date_counts_from_the_answers_own_clock() -> None:
    """The answer's date serves before the client's clock; a past date asks for no wait."""
    later = {"retry-after": DATE, "date": "Sun, 06 Nov 1994 08:49:07 GMT"}
    assert delay_from_headers(later, now=0.0) == 30
    assert delay_from_headers({"retry-after": DATE}, now=MOMENT - 12) == 12
    assert delay_from_headers({"retry-after": DATE}, now=MOMENT + 12) == 0
    assert delay_from_headers({"retry-after": DATE}, now=None) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("please try again in 1.2s.", 1.2),
        ("try again in 7m12.345s", 432.345),
        ("rate limit is exceeded. try again in 2 seconds.", 2),
        ("please retry after 60 seconds", 60),
        ("retry after 30", 30),
        ("please wait 15 seconds before trying again", 15),
        ("your limit resets in 3 hours", 10800),
        ("try again after 1 minute", 60),
        ("请在 5 秒后重试", 5),
        ('{"retry_after": 12}', 12),
        ("please try again later", None),
        ("created within the last 5 minutes, wait a moment and try again", None),
        ("requests took 30 seconds", None),
        ("", None),
    ],
)
def test_sentences(text: str, seconds: float | None) -> None:
    """A wait is only what the sentence asks for, not every duration in it."""
    assert delay_from_text(text) == (None if seconds is None else pytest.approx(seconds))


def test_of_two_figures_the_finer_is_taken() -> None:
    """Google rounds in its field what its sentence gives exactly."""
    assert delay_from_text("please retry in 31.234567s.", ["31s"]) == 31.234567
    assert delay_from_text("please retry in 31s.", ["31.5s"]) == 31.5
    assert delay_from_text("please retry in 31.5s.", ["40s"]) == 31.5


@pytest.mark.parametrize(
    ("asked", "field", "seconds"),
    [
        ("31.5s", "31.25", 31.25),
        ("1500ms", "1.5001", 1.5001),
        ("1500us", "0.0015001", 0.0015001),
        ("1500ns", "0.0000015001", 0.0000015001),
    ],
)
def test_small_units_are_as_fine_as_decimals(asked: str, field: str, seconds: float) -> None:
    """Milliseconds count as three of them, micro- and nanoseconds as six and nine; one more is finer."""
    assert delay_from_text(f"retry in {asked}", [field]) == seconds


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ('"retryDelay": "54s"', 54),
        ('"retry_after": 3.5', 3.5),
        ('"retry_after_ms": 250', 0.25),
        ('"retryDelay": "x"', None),
    ],
)
def test_fields_of_the_body(field: str, seconds: float | None) -> None:
    """Google's RetryInfo and plain numbers in the body are read."""
    error = classify(status=429, body=f'{{"error": {{"code": 429, "details": [{{{field}}}]}}}}')
    assert error.retry_after == seconds


def test_headers_win_over_the_body() -> None:
    """The header is exact, the sentence is for people."""
    error = classify(status=429, headers={"Retry-After": "4"}, body="Please try again in 9s")
    assert error.retry_after == 4


def test_sentences_of_lasting_failures_ask_for_nothing() -> None:
    """Only a failure that passes has a wait; a header is believed in any case."""
    body = '{"message": "You are not authorized. If you fixed this, try again after 2 minutes."}'
    assert classify(status=403, body=body).retry_after is None
    assert classify(status=403, headers={"retry-after": "5"}, body=body).retry_after == 5
