"""Ollama's whole answers."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.events import Finish, ReasoningDelta, TextDelta, ToolCall, UsageEvent
from resilient_llm.models import Embeddings, Usage
from resilient_llm.wire.ollama import decode_chat, decode_embeddings

ANSWER = {
    "model": "qwen3",
    "created_at": "2026-08-21T10:00:00Z",
    "message": {"role": "assistant", "content": "Oslo", "thinking": "hm"},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 26,
    "eval_count": 7,
}


def encoded(**fields: Any) -> bytes:
    return json.dumps({**ANSWER, **fields}).encode()


def test_an_answer():
    """Thoughts, text, usage and finish, in the order of a stream; the model and the bytes are kept."""
    answer = decode_chat(encoded())
    assert answer.events == [
        ReasoningDelta("hm"),
        TextDelta("Oslo"),
        UsageEvent(Usage(26, 7, 33)),
        Finish("stop"),
    ]
    assert (answer.model, answer.id, answer.body) == ("qwen3", None, encoded())


@pytest.mark.parametrize(
    ("legacy", "id_", "reason"),
    [(False, "call_20260821T100000Z_0", "tool_calls"), (True, "", "function_call")],
)
def test_a_call(legacy: bool, id_: str, reason: str):
    """A tool call gets an id; who asked with `functions` gets a function call."""
    calls = [{"function": {"name": "f", "arguments": {"a": 1}}}]
    answer = decode_chat(encoded(message={"content": "", "tool_calls": calls}), legacy=legacy)
    assert answer.events[0] == ToolCall(0, id_, "f", '{"a": 1}')
    assert answer.events[-1] == Finish(reason)


def test_an_empty_answer_is_one_if_it_is_done():
    """A model may say nothing; an answer that is neither said nor done is none."""
    assert decode_chat(encoded(message={"content": ""}, prompt_eval_count=None)).events == [
        UsageEvent(Usage(None, 7, None)),
        Finish("stop"),
    ]
    assert decode_chat(b'{"message":{},"done":true}').events == [Finish("stop")]
    with pytest.raises(ModelResponseInvalidError, match="empty"):
        decode_chat(b'{"message":{"content":""}}')


def test_an_error_with_status_200():
    """It is the classifier's."""
    with pytest.raises(BackendFailure):
        decode_chat(b'{"error":"model runner has unexpectedly stopped"}')


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"models":[]}', b'{"choices":[{}]}'])
def test_what_is_no_answer(body: bytes):
    """Neither another shape nor another dialect is taken for an answer."""
    with pytest.raises(ModelResponseInvalidError):
        decode_chat(body)


def test_embeddings():
    """Vectors in the order of the texts, with the tokens if they are told."""
    body = {"model": "nomic", "embeddings": [[1.0, 0.0], [0.5, 2]], "prompt_eval_count": 4}
    assert decode_embeddings(json.dumps(body).encode()) == Embeddings(
        [[1.0, 0.0], [0.5, 2.0]], "nomic", Usage(4, None, 4)
    )
    assert decode_embeddings(b'{"embeddings":[[1]]}') == Embeddings([[1.0]], "", Usage())


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"embeddings":[]}', b'{"embeddings":[["x"]]}', b'{"embedding":[1]}', b"[1]"]
)
def test_what_is_no_list_of_vectors(body: bytes):
    """It is an answer that cannot be used."""
    with pytest.raises(ModelResponseInvalidError):
        decode_embeddings(body)


def test_embeddings_that_are_an_error():
    """It is the classifier's."""
    with pytest.raises(BackendFailure):
        decode_embeddings(b'{"error":"the input length exceeds the context length"}')


FIELDS = st.sampled_from(
    [
        "message",
        "content",
        "thinking",
        "tool_calls",
        "function",
        "arguments",
        "name",
        "done",
        "done_reason",
        "error",
        "embeddings",
        "eval_count",
        "id",
        "created_at",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=20,
)


@given(VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30))
def test_any_bytes(body: bytes):
    """A body is an answer, an error of the backend, or an invalid response; never anything else."""
    for decode in (decode_chat, decode_embeddings):
        with suppress(BackendFailure, ModelResponseInvalidError):
            decode(body)
