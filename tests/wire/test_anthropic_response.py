"""Anthropic's whole answers."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.anthropic_cases import CITATION, KEPT, SEARCH, SEARCH_RESULT

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, ToolCall, UsageEvent
from resilient_llm.models import Usage
from resilient_llm.wire.anthropic import decode_chat, decode_count, decode_page


def answer(*content: Any, stop: Any = "end_turn", **more: Any) -> bytes:
    return json.dumps(
        {"id": "msg_1", "type": "message", "content": content, "stop_reason": stop, **more}
    ).encode()


def events(*content: Any, stop: Any = "end_turn", legacy: bool = False, **more: Any) -> list[Event]:
    return decode_chat(answer(*content, stop=stop, **more), legacy=legacy).events


def text(said: Any, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def use(given: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_1", "name": "f", "input": given, **more}


def test_text():
    """Texts, usage and finish come in this order, with the head of the answer."""
    usage = {"input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5}
    usage |= {"output_tokens": 20, "output_tokens_details": {"thinking_tokens": 7}}
    body = answer(text("Hel"), text("lo"), model="claude-x", usage=usage)
    decoded = decode_chat(body)
    assert decoded.events == [
        TextDelta("Hel"),
        TextDelta("lo"),
        UsageEvent(Usage(18, 20, 38, 5, 7)),
        Finish("stop"),
    ]
    assert (decoded.model, decoded.id, decoded.body, decoded.extra) == ("claude-x", "msg_1", body, {})


def test_tool_calls():
    """Calls are numbered from 0 whatever stands before them; their arguments are the input's own text."""
    body = answer(text("Hm."), use({"a": [1.50]}), use({}, id="toolu_2"), stop="tool_use")
    assert decode_chat(body.replace(b"[1.5]", b"[1.50]")).events == [
        TextDelta("Hm."),
        ToolCall(0, "toolu_1", "f", '{"a": [1.50]}'),
        ToolCall(1, "toolu_2", "f", "{}"),
        Finish("tool_calls"),
    ]


def test_calls_of_careless_servers():
    """An id is made up where there is none; a missing input is none."""
    assert events({"type": "tool_use", "name": "f"}, use(None, id=None), use('{"a":1}', id=7))[:3] == [
        ToolCall(0, "call_0", "f", "{}"),
        ToolCall(1, "call_1", "f", "{}"),
        ToolCall(2, "7", "f", '{"a":1}'),
    ]


def test_legacy_function_call():
    """Who asked with functions gets a call without an id, and its word for it."""
    assert events(use({"a": 1}), stop="tool_use", legacy=True) == [
        ToolCall(0, "", "f", '{"a": 1}'),
        Finish("function_call"),
    ]
    assert events(text("Hi"), legacy=True)[-1] == Finish("stop")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        ("something_new", "something_new"),
        (None, "stop"),
    ],
)
def test_stop_reasons(reason: Any, expected: str):
    """Why the model stopped, in OpenAI's words as far as there are any."""
    assert events(text("Hi"), stop=reason)[-1] == Finish(expected)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 1, "output_tokens": 2}, Usage(1, 2, 3)),
        ({"output_tokens": 2}, Usage(completion_tokens=2)),
        ({"input_tokens": 1, "cache_read_input_tokens": 4}, Usage(5, None, None, 4)),
        ({"input_tokens": "1", "output_tokens": 2.0, "output_tokens_details": None}, Usage(1, 2, 3)),
        ({"input_tokens": -1}, None),
        ({}, None),
        (7, None),
    ],
)
def test_usage(usage: Any, expected: Usage | None):
    """What was read from the cache or written to it is part of the prompt."""
    told = [event.usage for event in events(text("Hi"), usage=usage) if isinstance(event, UsageEvent)]
    assert told == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    "content",
    [
        KEPT,
        [SEARCH, SEARCH_RESULT, text("The Rhine.")],
        [text("Grass.", citations=[CITATION])],
        [{"type": "something_new", "x": [1]}, text("Hi")],
    ],
)
def test_blocks_that_openai_cannot_say_are_kept(content: list[Any]):
    """All blocks, as they came and in their order."""
    assert decode_chat(answer(*content)).extra == {"anthropic_content": content}


@pytest.mark.parametrize(
    "content", [[text("Hi")], [text("Hi", citations=None), use({"a": 1})], [text("", citations=[])]]
)
def test_blocks_that_openai_can_say_are_not(content: list[Any]):
    """Texts and calls are on the message anyway."""
    assert decode_chat(answer(*content)).extra == {}


def test_thoughts():
    """Thoughts are reasoning where they stand; redacted and silent ones say nothing."""
    silent = {"type": "thinking", "thinking": "", "signature": "x"}
    assert events(*KEPT[:3], silent) == [ReasoningDelta("Let me see."), TextDelta("Looking."), Finish("stop")]


def test_empty_answers():
    """A model that stops without a word has answered; one that does not even stop has not."""
    assert events() == [Finish("stop")]
    assert events(stop="refusal") == [Finish("content_filter")]
    assert decode_chat(b'{"stop_reason":"end_turn"}').events == [Finish("stop")]
    for body in (answer(stop=None), answer(text(""), stop=None)):
        with pytest.raises(ModelResponseInvalidError, match="empty"):
            decode_chat(body)


@pytest.mark.parametrize("body", [b"{}", b'{"choices":[]}', b'{"content":null}', b'{"id":1}'])
def test_no_content(body: bytes):
    """Another dialect's answer is none."""
    with pytest.raises(ModelResponseInvalidError, match="no content"):
        decode_chat(body)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"content":[', b"\xff", b'{"a":' * 50_000]
)
def test_garbage(body: bytes):
    """What is no JSON object is no answer, and says so shortly."""
    with pytest.raises(ModelResponseInvalidError) as caught:
        decode_chat(body)
    assert len(caught.value.message) < 120


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        b'{"type":"error","message":"m"}',
        b'{"error":"text","content":[]}',
    ],
)
def test_error_with_status_200(body: bytes):
    """An error in the body goes to the classifier, whatever its shape."""
    with pytest.raises(BackendFailure) as caught:
        decode_chat(body)
    assert (caught.value.status, caught.value.body, caught.value.surface) == (200, body.decode(), "http")


def test_lenient_types():
    """Numbers for strings, a string for blocks and broken characters are read all the same."""
    assert decode_chat(b'{"content":"Hi","stop_reason":"end_turn","id":7}').events[0] == TextDelta("Hi")
    assert decode_chat(b'{"content":[{"type":"text","text":4},3]}').events[0] == TextDelta("4")
    assert decode_chat(b'{"content":[{"text":"a\\ud83d"}]}').events[0] == TextDelta("a\ufffd")
    strange = b'{"content":[{"type":"tool_use","id":1,"name":"f","input":{"a":"\\ud83d"}}]}'
    assert json.loads(decode_chat(strange).events[0].arguments) == {"a": "\ud83d"}


# Listings and counts ...


def test_a_page_of_models():
    """Names, windows, and where the next page begins."""
    entry = {"id": "claude-x", "type": "model", "display_name": "Claude X", "max_input_tokens": 200000}
    body = {"data": [entry, {"id": "b"}], "first_id": "claude-x", "last_id": "b", "has_more": True}
    models, after = decode_page(json.dumps(body).encode())
    assert [(model.id, model.name, model.context_length, model.kind) for model in models] == [
        ("claude-x", "Claude X", 200000, "chat"),
        ("b", "", None, "chat"),
    ]
    assert after == "b"
    assert decode_page(json.dumps({**body, "has_more": False}).encode())[1] is None
    assert decode_page(b'{"data":[],"has_more":true,"last_id":"x"}') == ([], None)


def test_a_count_of_tokens():
    """The figure, or what is wrong."""
    assert decode_count(b'{"input_tokens":2095}') == 2095
    with pytest.raises(BackendFailure):
        decode_count(b'{"type":"error","error":{"message":"m"}}')
    with pytest.raises(ModelResponseInvalidError, match="no count"):
        decode_count(b'{"tokens":[]}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "thinking",
                    "content",
                    "usage",
                    "input",
                    "id",
                    "citations",
                    "stop_reason",
                    "error",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["content", "stop_reason", "usage", "type"]), JSON).map(json.dumps))
def test_any_json(body: str):
    """Whatever the shape, an answer or an error of this package, and what is kept is sent back without one."""
    with suppress(BackendFailure, ModelResponseInvalidError):
        decode_chat(body.encode())


@given(st.binary(max_size=40))
def test_any_bytes(body: bytes):
    """Nothing else is ever raised."""
    for decode in (decode_chat, decode_page, decode_count):
        with suppress(BackendFailure, ModelResponseInvalidError):
            decode(body)
