"""OpenAI's whole answers, and what others make of them."""

from __future__ import annotations

import base64
import json
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, ToolCall, UsageEvent
from resilient_llm.models import Embeddings, Usage
from resilient_llm.wire.openai import decode_chat, decode_embeddings


def answer(message: Any = None, finish: Any = "stop", **rest: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}], **rest}).encode()


def events(message: Any, finish: Any = "stop", **rest: Any) -> list[Event]:
    return decode_chat(answer(message, finish, **rest)).events


def call(name: Any, arguments: Any, **rest: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **rest}


def test_text():
    """Reasoning, text, usage and finish come in this order, with the head of the answer."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    body = answer({"content": "Hi", "reasoning": "hm"}, model="m", id="c1", usage=usage)
    decoded = decode_chat(body)
    assert decoded.events == [
        ReasoningDelta("hm"),
        TextDelta("Hi"),
        UsageEvent(Usage(3, 2, 5)),
        Finish("stop"),
    ]
    assert (decoded.model, decoded.id, decoded.body) == ("m", "c1", body)


def test_tool_calls():
    """Whole calls are numbered in their order; a missing id is made up, arguments as an object are written."""
    calls = [
        call("f", '{"a":1}', id="x", index=0),
        call("g", {"b": 2}, index=0),
        call("h", None, id=9),
        {"id": "i"},
    ]
    assert events({"content": None, "tool_calls": calls}, "tool_calls") == [
        ToolCall(0, "x", "f", '{"a":1}'),
        ToolCall(1, "call_1", "g", '{"b":2}'),
        ToolCall(2, "9", "h", ""),
        ToolCall(3, "i", "", ""),
        Finish("tool_calls"),
    ]


def test_legacy_function_call():
    """A legacy call has no id."""
    legacy = {"name": "f", "arguments": "{}"}
    assert events({"content": None, "function_call": legacy}, "function_call")[0] == ToolCall(
        0, "", "f", "{}"
    )


def test_reasoning_in_either_field():
    """Reasoning is read from both names, once where a backend sends both."""
    assert events({"reasoning_content": "a", "reasoning": "a"}) == [ReasoningDelta("a"), Finish("stop")]


def test_content_in_parts():
    """Content in parts is joined, and thinking parts are reasoning."""
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}, {"text": "b"}, None]
    assert events({"content": parts}) == [ReasoningDelta("hm"), TextDelta("ab"), Finish("stop")]


def test_refusal():
    """A refusal is the text where there is none."""
    assert events({"content": None, "refusal": "No."}) == [TextDelta("No."), Finish("stop")]


@pytest.mark.parametrize(
    ("reason", "expected"), [("eos", "stop"), ("length", "length"), (None, "stop"), ("", "stop")]
)
def test_finish_reasons(reason: object, expected: str):
    """Other backends' words are translated; an answer without a word is finished."""
    assert events({"content": "a"}, reason)[-1] == Finish(expected)


def test_empty_answer_with_finish_reason():
    """A model that stops without a word has answered."""
    assert events({"content": ""}, "length") == [Finish("length")]


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"m"}}',
        b'{"error":"text"}',
        b'{"object":"error","message":"m"}',
        b'{"choices":[{"error":{"code":502},"message":{"content":"a"}}]}',
        b'{"choices":[{"finish_reason":"error","message":{"content":"a"}}]}',
    ],
)
def test_error_with_status_200(body: bytes):
    """An error in the body goes to the classifier, whatever its shape."""
    with pytest.raises(BackendFailure) as caught:
        decode_chat(body)
    assert (caught.value.status, caught.value.body, caught.value.surface) == (200, body.decode(), "http")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b'{"choices":[{"mess',
        b"[]",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":null}',
        b'{"choices":{"message":1}}',
        b'{"choices":[{"message":{"content":""},"finish_reason":null}]}',
        b'{"choices":[{}]}',
    ],
)
def test_no_answer(body: bytes):
    """Garbage, no choices, and silence without a finish reason are no answer."""
    with pytest.raises(ModelResponseInvalidError):
        decode_chat(body)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "tool_calls",
                    "function",
                    "arguments",
                    "finish_reason",
                    "usage",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(VALUES)
def test_any_json(value: Any):
    """Whatever JSON stands for an answer, the outcome is events or one of the two failures."""
    for body in (json.dumps(value).encode(), answer(value, value, usage=value)):
        with suppress(BackendFailure, ModelResponseInvalidError):
            assert isinstance(decode_chat(body).events[-1], Finish)


def vectors(*items: dict[str, Any], **rest: Any) -> Embeddings:
    return decode_embeddings(json.dumps({"data": items, **rest}).encode())


def test_embeddings_are_sorted():
    """Vectors come in the order of their index, whole numbers and all."""
    decoded = vectors(
        {"index": 1, "embedding": [3, 4.5]},
        {"index": 0, "embedding": [1.0]},
        model="e",
        usage={"prompt_tokens": 2},
    )
    assert decoded == Embeddings([[1.0], [3.0, 4.5]], "e", Usage(2))


def test_embeddings_without_index():
    """Without an index the order stands; model and usage may be missing or odd."""
    assert vectors({"embedding": [1.0]}, {"embedding": [2.0]}, model=None, usage="x") == Embeddings(
        [[1.0], [2.0]]
    )


def test_embeddings_in_base64():
    """Base64 holds little-endian 32-bit floats."""
    packed = base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()
    assert vectors({"embedding": packed}).vectors == [[0.5, -2.0]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"data":[{"embedding":[null]}]}',
        b'{"data":[{"embedding":"AAA"}]}',
        b'{"data":[{"embedding":"AAAAAAA="}]}',
        b'{"data":[{"embedding":"\\u00e9"}]}',
        b'{"data":[]}',
    ],
)
def test_no_embeddings(body: bytes):
    """What holds no vectors is no answer."""
    with pytest.raises(ModelResponseInvalidError):
        decode_embeddings(body)


@pytest.mark.parametrize("body", [b'{"error":"x"}', b'{"error":"x","data":[]}'])
def test_embeddings_error(body: bytes):
    """An error in the body goes to the classifier."""
    with pytest.raises(BackendFailure):
        decode_embeddings(body)


@given(st.binary(max_size=40) | VALUES.map(lambda value: json.dumps({"data": value}).encode()))
def test_any_embeddings(body: bytes):
    """Any bytes are vectors or one of the two failures."""
    with suppress(BackendFailure, ModelResponseInvalidError):
        assert decode_embeddings(body).vectors
