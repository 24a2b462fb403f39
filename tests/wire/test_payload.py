"""Reading JSON leniently."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.models import Usage
from resilient_llm.wire.payload import (
    describe,
    int_of,
    json_text,
    load_object,
    loads,
    object_of,
    objects_of,
    reject_error,
    stream_failure,
    text_of,
    usage_of,
)


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b'{"a": [1, null]}', {"a": [1, None]}),
        (b'"\xff"', "\ufffd"),
        (b'"\\ud83d"', "\ud83d"),
        (b"[Infinity]", [float("inf")]),
    ],
)
def test_loads_takes_what_is_nearly_json(payload: bytes, value: object):
    """Bytes that are no UTF-8, half a surrogate pair and infinite numbers are read."""
    assert loads(payload) == value


@given(st.binary(max_size=60))
def test_loads_raises_nothing_else(payload: bytes):
    """Any bytes are a value or the typed error."""
    with suppress(ModelResponseInvalidError):
        loads(payload)


def test_deep_json_is_garbage():
    """Nesting beyond the parser's depth is the typed error, not a RecursionError."""
    with pytest.raises(ModelResponseInvalidError):
        loads(b"[" * 100_000)


def test_json_of_too_many_values_is_refused_before_it_fills_the_memory():
    """Some bytes of text can make a hundred bytes of objects; long texts are no matter."""
    with pytest.raises(ModelResponseInvalidError, match="more than 1000 values"):
        loads(b"[" + b"[]," * 501 + b"[]]", most=1000)
    assert loads(b"[" + b"0," * 999 + b"0]", most=1000) == [0] * 1000
    assert loads(b'"' + b"x" * 5000 + b'"', most=1000) == "x" * 5000


def test_other_json_is_no_object():
    """JSON that is no object is refused with its type."""
    with pytest.raises(ModelResponseInvalidError, match="type list where an object was due"):
        load_object(b"[]")


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b" \n", "an empty body"),
        (b'{"text": "a secret', "broken or truncated JSON of 18 bytes"),
        (b"<xml>" + b"x" * 500, "505 bytes beginning '<xml>" + "x" * 35 + "'"),
        (b"<html>" + b"x" * 500, "a web page, as another server or a proxy would,"),
        (
            b"\n<!DOCTYPE html>\n<html><head><title>Welcome\n to nginx!</title>",
            "a web page (Welcome to nginx!), as another server or a proxy would,",
        ),
        (b"\xff\xfe", "2 bytes beginning '\ufffd\ufffd'"),
    ],
)
def test_garbage_is_described(payload: bytes, text: str):
    """Garbage is named by its beginning, but nothing is quoted of what may be an answer."""
    assert describe(payload) == text


@pytest.mark.parametrize(
    "body", [{"error": "text"}, {"error": {"message": "m"}}, {"object": "error"}, {"type": "error"}]
)
def test_errors_of_a_200_are_raised(body: dict[str, object]):
    """An error in any shape is handed to the classifier with the payload."""
    with pytest.raises(BackendFailure) as caught:
        reject_error(body, b"payload")
    assert (caught.value.status, caught.value.headers, caught.value.body) == (200, {}, "payload")


@pytest.mark.parametrize("body", [{}, {"error": None}, {"error": {}}, {"error": ""}, {"object": "list"}])
def test_empty_errors_are_none(body: dict[str, object]):
    """An `error` that says nothing is no error."""
    reject_error(body, b"")


def test_failures_are_bounded():
    """What a failure keeps of a payload is bounded."""
    failure = stream_failure(b"x" * 1_000_000)
    assert len(failure.body) == 65536
    assert failure.surface == "stream"


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ("é", "é"), ("\ud83d\ude00", "😀"), ("\ud83d", "\ufffd"), (7, "7"), (1.5, "1.5"), (True, None),
     (None, None), ([], None)],
)  # fmt: skip
def test_text_of(value: object, text: str | None):
    """Numbers are text, surrogates are paired or replaced, anything else is none."""
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), ("4", 4), (5.0, 5), (-1, None), ("x", None), (True, None), (None, None), (float("inf"), None),
     (float("nan"), None), ([], None)],
)  # fmt: skip
def test_int_of(value: object, number: int | None):
    """Whole numbers are read from numbers and text; what is negative or none at all is None."""
    assert int_of(value) == number


def test_objects():
    """What is no object is an empty one, or left out of a list."""
    assert object_of({"a": 1}) == {"a": 1}
    assert object_of("x") == {}
    assert objects_of([{"a": 1}, None, 3]) == [{"a": 1}]
    assert objects_of({"a": 1}) == []


@pytest.mark.parametrize("value", [None, {}, {"cost": 1}, "x"])
def test_usage_that_tells_nothing(value: object):
    """A usage without a count is none."""
    assert usage_of(value) is None


def test_usage_with_details():
    """The counts and their details are read."""
    usage = usage_of(
        {
            "prompt_tokens": 5,
            "completion_tokens": 3,
            "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 0},
            "prompt_cache_hit_tokens": 9,
            "completion_tokens_details": {"reasoning_tokens": 2},
        }
    )
    assert usage == Usage(5, 3, 8, 0, 2)


def test_usage_of_deepseek():
    """DeepSeek's own count of cached tokens is read where OpenAI's is missing."""
    assert usage_of({"prompt_tokens": 5, "prompt_cache_hit_tokens": 4}) == Usage(5, cached_tokens=4)


def test_json_text():
    """What was read as JSON is written as JSON; half a surrogate pair is escaped, what is too deep is no answer."""
    assert json_text({"a": "é"}) == '{"a":"é"}'
    assert json_text({"a": "\ud83d"}) == '{"a": "\\ud83d"}'
    deep: object = "\ud83d"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ModelResponseInvalidError, match="too deeply"):
        json_text(deep)
