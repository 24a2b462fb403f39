"""What headers tell of limits: each backend's form, and any text at all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.policy import rate_headers
from resilient_llm.policy.buckets import Count
from resilient_llm.policy.rate_headers import Told, read_limits, tell_limits

NOON = 1_798_891_200.0  # 2027-01-02 12:00:00 UTC
OPENAI = {
    "x-ratelimit-limit-requests": "5000",
    "x-ratelimit-remaining-requests": "4999",
    "x-ratelimit-reset-requests": "12ms",
    "x-ratelimit-limit-tokens": "160000",
    "x-ratelimit-remaining-tokens": "159976",
    "x-ratelimit-reset-tokens": "0.5s",
}


def anthropic(what: str, limit: int, remaining: int, reset: str) -> dict[str, str]:
    name = f"anthropic-ratelimit-{what}"
    return {f"{name}-limit": str(limit), f"{name}-remaining": str(remaining), f"{name}-reset": reset}


def reset_of(text: str, now: float | None = NOON, **more: str) -> float | None:
    """The reset as it is read for a plain gateway's limit, or None if the limit is left out."""
    headers = {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "3", "x-ratelimit-reset": text, **more}
    assert tell_limits(headers)
    told = read_limits(headers, now)
    return told[0].reset if told else None


def test_openai() -> None:
    """Requests and tokens, filled steadily, the reset a duration."""
    assert read_limits(OPENAI, None) == [
        Told("x-ratelimit-remaining-requests", Count.REQUESTS, 5000, 4999, 0.012, steady=True),
        Told("x-ratelimit-remaining-tokens", Count.TOKENS, 160000, 159976, 0.5, steady=True),
    ]


def test_anthropic() -> None:
    """Prompts' and answers' tokens have limits of their own; the sum that is told beside them is none."""
    headers = {
        **anthropic("requests", 50, 49, "2027-01-02T12:00:01Z"),
        **anthropic("input-tokens", 40000, 39000, "2027-01-02T12:00:03Z"),
        **anthropic("output-tokens", 8000, 8000, "2027-01-02T11:59:59Z"),
        **anthropic("tokens", 48000, 47000, "2027-01-02T12:00:03Z"),
        "date": "Sat, 02 Jan 2027 12:00:01 GMT",
    }
    told = read_limits(headers, NOON + 5000)  # the backend's own clock counts, not ours
    assert [(limit.counts, limit.limit, limit.remaining, limit.reset) for limit in told] == [
        (Count.REQUESTS, 50, 49, 1.0),
        (Count.INPUT, 40000, 39000, 3.0),
        (Count.OUTPUT, 8000, 8000, 1.0),
    ]
    assert all(limit.steady for limit in told)


def test_anthropic_of_old() -> None:
    """Where only the sum is told, it is the limit."""
    told = read_limits(anthropic("tokens", 48000, 47000, "2027-01-02T12:00:03Z"), NOON)
    assert [(limit.counts, limit.reset) for limit in told] == [(Count.TOKENS, 4.0)]


def test_cerebras() -> None:
    """A day's requests and a minute's tokens, each filled at once."""
    headers = {
        "x-ratelimit-limit-requests-day": "14400",
        "x-ratelimit-remaining-requests-day": "14399",
        "x-ratelimit-reset-requests-day": "33011.382",
        "x-ratelimit-limit-tokens-minute": "60000",
        "x-ratelimit-remaining-tokens-minute": "59000",
        "x-ratelimit-reset-tokens-minute": "11.38",
    }
    told = read_limits(headers, None)
    assert [(limit.counts, limit.remaining, limit.reset, limit.steady) for limit in told] == [
        (Count.REQUESTS, 14399, 33011.382, False),
        (Count.TOKENS, 59000, 11.38, False),
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-request-id": "r", "retry-after": "3"},
        {"x-ratelimit-remaining-requests": "19", "x-ratelimit-remaining-tokens": "19913"},  # Azure
        {  # Mistral
            "x-ratelimit-limit-tokens-minute": "50000",
            "x-ratelimit-remaining-tokens-minute": "47300",
            "x-ratelimit-limit-req-minute": "50",
            "x-ratelimit-remaining-req-minute": "49",
        },
        {**OPENAI, "x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-tokens": "-1"},
        {**OPENAI, "x-ratelimit-reset-requests": "", "x-ratelimit-reset-tokens": "soon"},
    ],
)
def test_what_is_told_in_part_is_left_out(headers) -> None:
    """Without a limit, what remains, and when it is back, nothing can be planned."""
    assert read_limits(headers, NOON) == []


def test_only_headers_of_limits_are_looked_at() -> None:
    """Most answers have none, and that is seen without reading any."""
    assert tell_limits(OPENAI)
    assert not tell_limits({"date": "x", "retry-after": "3", "x-ratelimit-limit-requests": "3"})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("644ms", 0.644),
        ("1s", 1.0),
        ("5".zfill(64), 5.0),
        ("5".zfill(65), 0.0),
        ("99999999", 99_999_999.0),
        ("100000000", 1.0),  # no longer a duration: an instant that is over
        ("100000000000", 1.0),  # no longer seconds: milliseconds, over too
        ("8.64s", 8.64),
        ("6m0s", 360.0),
        ("17.563999999s", 17.563999999),
        ("20m52.666s", 1252.666),
        ("2m59.56s", 179.56),
        ("1h0m3s", 3603.0),
        ("2", 2.0),
        ("0", 0.0),
        ("0s", 0.0),
        (" 3 ", 3.0),
        ("1798891260", 61.0),  # epoch seconds
        ("1798891260000", 61.0),  # epoch milliseconds, as OpenRouter has it
        ("2027-01-02T12:01:00Z", 61.0),
        ("2027-01-02T14:01:00+02:00", 61.0),
        ("2027-01-02T12:01:00", 61.0),
        ("2027-01-02T11:00:00Z", 1.0),  # over
        ("Sat, 02 Jan 2027 12:01:00 GMT", 61.0),
    ],
)
def test_resets(text: str, seconds: float) -> None:
    """Durations as they are; instants, which are cut to whole seconds, a second later."""
    assert reset_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-5", "inf", "nan", "1e999s", "2027-99-99T00:00:00Z"])
def test_resets_that_mean_nothing(text: str) -> None:
    """The limit is left out."""
    assert reset_of(text) is None


def test_an_instant_needs_a_clock() -> None:
    """The answer's own date, else ours; without either it is left out."""
    assert reset_of("2027-01-02T12:01:00Z", None) is None
    assert reset_of("2027-01-02T12:01:00Z", None, date="Sat, 02 Jan 2027 12:00:30 GMT") == 31.0
    assert reset_of("0001-01-01T00:00:00+23:59") in {None, 1.0}


@pytest.mark.parametrize(
    ("text", "number"), [("100, 100;window=60", 100), ("7;w=60", 7), ("12.0", 12), (" 3", 3)]
)
def test_numbers_may_be_followed_by_their_windows(text: str, number: float) -> None:
    """As the IETF's draft and some gateways have it."""
    headers = {"ratelimit-limit": text, "ratelimit-remaining": "1", "ratelimit-reset": "30"}
    assert [limit.limit for limit in read_limits(headers, None)] == [number]


def test_what_remains_is_within_the_limit() -> None:
    """Whatever the backend says."""
    headers = {"ratelimit-limit": "5", "ratelimit-remaining": "70", "ratelimit-reset": "30"}
    assert read_limits(headers, None)[0].remaining == 5


NAMES = [name for row in rate_headers._ROWS for name in row[:3]]
TEXTS = st.one_of(
    st.text(st.characters(max_codepoint=0x1000), max_size=40),
    st.text("0123456789.:TZ+ehms,; -", max_size=24),
    st.integers(-5, 10**18).map(str),
)


@given(st.dictionaries(st.sampled_from([*NAMES, "date"]), TEXTS), st.one_of(st.none(), st.floats(0, 1e11)))
def test_any_text_gives_limits_or_none(headers: dict[str, str], now: float | None) -> None:
    """Never an error, and never a figure that arithmetic could stumble over."""
    for limit in read_limits(headers, now):
        assert 0 <= limit.remaining <= limit.limit
        assert 0 < limit.limit < 1e16
        assert 0 <= limit.reset < math.inf


def test_who_gives_back_little_by_little() -> None:
    """OpenAI and Anthropic; where a header names its window, and at gateways, all comes back at the reset."""
    headers = {name: "5" for row in rate_headers._ROWS for name in row[:3]}
    del headers["anthropic-ratelimit-input-tokens-remaining"]  # or the sum beside it would be left out
    steady = {limit.name for limit in read_limits(headers, None) if limit.steady}
    assert steady == {
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-remaining-project-requests",
        "x-ratelimit-remaining-project-tokens",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-tokens-remaining",
    }
