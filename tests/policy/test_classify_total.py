"""Classification is total, bounded and quick, whatever comes in."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.errors import LLMError
from resilient_llm.policy.classify import Surface, classify
from resilient_llm.policy.classify_exception import classify_exception_text

_SURFACES: tuple[Surface, ...] = ("http", "stream")
SURFACES = st.sampled_from(_SURFACES)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Retry-After", "retry-after-ms", "date", "x-should-retry", "x-request-id", ":exception-type", "x"]
    ),
    st.text(max_size=40) | st.floats().map(str) | st.just("Sun, 06 Nov 1994 08:49:37 GMT"),
    max_size=5,
)
STATUSES = st.none() | st.integers() | st.sampled_from([200, 400, 401, 404, 413, 429, 500, 503, 529])
WORDS = st.lists(
    st.sampled_from(
        [
            "error",
            "message",
            "model",
            "not",
            "found",
            "tokens",
            "5,000",
            ">",
            "4096",
            "context",
            "length",
            "exceeds",
            "limit",
            "rate",
            "per",
            "minute",
            "try",
            "again",
            "in",
            "1.5s",
            "quota",
            "billing",
            "loading",
            "overloaded",
            "Error:",
            '{"',
            '\\"',
            "[",
            "]",
            "}",
            "'",
            "429",
            "-",
            "data:",
            "event:",
            "<html>",
            "sk-",
        ]
    ),
    max_size=60,
).map(" ".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "code",
                    "type",
                    "detail",
                    "metadata",
                    "raw",
                    "choices",
                    "n_ctx",
                    "retryDelay",
                    "",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


def check(error: LLMError) -> None:
    assert isinstance(error, LLMError)
    assert 0 < len(error.message) <= 300
    assert error.message.isprintable()
    assert error.retry_after is None or error.retry_after >= 0


@given(STATUSES, HEADERS, st.binary(max_size=2000), SURFACES)
def test_any_bytes(status: int | None, headers: dict[str, str], body: bytes, surface: Surface) -> None:
    """Any bytes under any status and headers are an LLMError, never an exception."""
    check(classify(status=status, headers=headers, body=body, surface=surface, now=0.0))


@given(STATUSES, WORDS | st.text(max_size=500), SURFACES)
def test_any_words(status: int | None, body: str, surface: Surface) -> None:
    """Any mixture of the words that rules look for is an LLMError."""
    check(classify(status=status, body=body, surface=surface))


@given(STATUSES, JSON, SURFACES, st.sampled_from(["", "data: ", "event: error\ndata: ", "error: "]))
def test_any_json(status: int | None, value: object, surface: Surface, prefix: str) -> None:
    """Any JSON, printed by JSON or by Python, whole or in a stream, is an LLMError."""
    import json  # noqa: PLC0415 - beside its only use

    for text in (json.dumps(value), repr(value), json.dumps(json.dumps(value))):
        check(classify(status=status, body=prefix + text, surface=surface))
        check(classify(status=status, body=(prefix + text)[: len(text) // 2], surface=surface))


@given(st.text(max_size=60), st.text(max_size=300) | WORDS)
def test_any_exception_text(name: str, message: str) -> None:
    """Any class name and message are an LLMError."""
    check(classify_exception_text(name, message))


MEGABYTE = 1_000_000
ADVERSARIAL = {
    "braces": "{" * MEGABYTE,
    "brackets": "[" * MEGABYTE,
    "objects": '{"a":' * (MEGABYTE // 5),
    "openers": '{"' * (MEGABYTE // 2),
    "escapes": '{\\"' * (MEGABYTE // 3),
    "strings": '{"error": "' * (MEGABYTE // 11),
    "digits": "1" * MEGABYTE,
    "thousands": "1,000" * (MEGABYTE // 5),
    "spaces": " " * MEGABYTE + "x",
    "newlines": "\n" * MEGABYTE + "x",
    "models": "model " * (MEGABYTE // 6),
    "tokens": "maximum tokens exceed " * (MEGABYTE // 22),
    "keys": "api key " * (MEGABYTE // 8),
    "accounts": "account " * (MEGABYTE // 8),
    "errors": "Error: " * (MEGABYTE // 7),
    "exceptions": "XException - " * (MEGABYTE // 13),
    "class names": "a" * 60 + "." + "Error" * (MEGABYTE // 5),
    "retries": "try again in " * (MEGABYTE // 13),
    "durations": "try again in " + "1s" * (MEGABYTE // 2),
    "tags": "<h1" * (MEGABYTE // 3),
    "html": "<html>" + "<title " * (MEGABYTE // 7),
    "urls": "http://" * (MEGABYTE // 7),
    "passwords": "://a:" * (MEGABYTE // 5),
    "quotes": '"message": "' * (MEGABYTE // 12),
    "lines": "data: {}\n" * (MEGABYTE // 9),
    "events": 'data: {"error": 0}\n\n' * (MEGABYTE // 20),
    "nulls": "\0" * MEGABYTE,
    "sums": "1 + 1 > " * (MEGABYTE // 8),
}


@pytest.mark.parametrize("surface", ["http", "stream"])
@pytest.mark.parametrize("body", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_a_megabyte_of_anything_is_quick(body: str, surface: Surface) -> None:
    """Only 64 KiB are examined, and every pattern is linear."""
    start = time.process_time()
    for status in (None, 200, 400, 429, 500):
        check(classify(status=status, body=body, surface=surface))
    assert time.process_time() - start < 3
    start = time.process_time()
    check(classify_exception_text("Error", body))
    assert time.process_time() - start < 1


@settings(max_examples=20)
@given(st.integers(1, 5000))
def test_deep_nesting_is_bounded(depth: int) -> None:
    """Nesting of any depth, of objects or of strings, is an LLMError."""
    check(classify(status=400, body='{"error":' * depth + '"x"' + "}" * depth))
    check(classify(status=400, body="[" * depth + "]" * depth))


def test_importing_compiles_nothing() -> None:
    """The patterns are compiled when they are first needed, so importing is quick."""
    program = (
        "import re, resilient_llm.errors, attrs, ast, json\n"
        "from datetime import datetime\n"
        "before = len(re._cache)\n"
        "import resilient_llm.policy.classify, resilient_llm.policy.classify_exception\n"
        "print(len(re._cache) - before)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "0"
