"""Stored answers: what is read is what was written, and what is no whole answer is not written."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.errors import ModelUnavailableError
from resilient_llm.events import (
    Finish,
    ReasoningDelta,
    Restarted,
    Result,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    UsageEvent,
)
from resilient_llm.models import Embeddings, ModelInfo, Usage
from resilient_llm.wire.stored import dump, load, merged
from resilient_llm.wire.transcript import Transcript

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
counts = st.none() | st.integers(0, 10**6)
usages = st.builds(Usage, counts, counts, counts, counts, counts)
numbers = st.floats(allow_nan=False, allow_infinity=False)
content = st.one_of(
    st.builds(TextDelta, texts),
    st.builds(ReasoningDelta, texts),
    st.builds(ToolCall, st.integers(0, 5), st.text(max_size=5), texts, texts),
    st.builds(ToolCallDelta, st.integers(0, 5), st.just(""), st.just(""), texts),
    st.builds(UsageEvent, usages),
)
finishes = st.builds(Finish, st.sampled_from(["stop", "tool_calls", "function_call"]))
vectors = st.builds(
    lambda vectors, usage: Result(Embeddings(vectors, "m", usage)), st.lists(st.lists(numbers)), usages
)


def completion(events):
    transcript = Transcript()
    transcript.extend(events)
    return transcript.completion()


@given(st.lists(content), finishes)
@settings(max_examples=50, deadline=None)
def test_a_chat_comes_back_equal(events, finish) -> None:
    """Text, reasoning, calls, usage and reason are the same, in the same order; only pieces of text are joined."""
    stored, back = load(dump([*events, finish], model="m", backend="b", request_id="r", body=b"\xff\x00"))
    assert completion(back) == completion([*events, finish])
    assert back == merged([*events, finish])
    assert (stored.model, stored.backend, stored.request_id, stored.body) == ("m", "b", "r", b"\xff\x00")


@given(vectors)
@settings(max_examples=50, deadline=None)
def test_vectors_come_back_to_the_last_bit(result) -> None:
    """Numbers are written so that they are read as the same numbers."""
    _, back = load(dump([result, Finish("stop")]))
    assert back == [result, Finish("stop")]
    assert repr(back) == repr([result, Finish("stop")])


def test_pieces_of_text_are_joined_and_fragments_left_out() -> None:
    """One event for each run of text; a fragment of a call is not in the way."""
    events = [
        TextDelta("a"),
        TextDelta("b"),
        ReasoningDelta("c"),
        ToolCallDelta(0, "i", "f", "{"),
        ReasoningDelta("d"),
        ToolCall(0, "i", "f", "{}"),
        ToolCall(1, "j", "f", "{}"),
        TextDelta("e"),
    ]
    assert merged(events) == [
        TextDelta("ab"),
        ReasoningDelta("cd"),
        ToolCall(0, "i", "f", "{}"),
        ToolCall(1, "j", "f", "{}"),
        TextDelta("e"),
    ]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [TextDelta("a")],
        [Finish("stop"), TextDelta("a")],
        [TextDelta("a"), Finish("length")],
        [TextDelta("a"), Finish("content_filter")],
        [TextDelta("a"), Finish("abort")],
        [TextDelta("a"), Restarted(ModelUnavailableError("cut"), 2), TextDelta("a"), Finish("stop")],
        [Result([ModelInfo("m")]), Finish("stop")],
        [Result(None), Finish("stop")],
        [TextDelta("\ud800"), Finish("stop")],
    ],
    ids=repr,
)
def test_what_is_no_whole_answer_is_not_written(events) -> None:
    """Cut, filtered, restarted, without an end, or nothing that JSON can say."""
    assert dump(events) is None


def test_what_cannot_be_written_with_it_is_not_written() -> None:
    """An object in what the message carries is no reason to fail."""
    assert dump([Finish("stop")], extra={"a": object()}) is None


@given(st.binary(max_size=50))
def test_any_bytes_are_read_or_refused(data) -> None:
    """What somebody else wrote there is no answer, and no error."""
    assert load(data) is None


@pytest.mark.parametrize(
    "entry",
    [
        {"events": []},
        {"events": [["text", {"text": "a"}]]},
        {"events": [["text", {}], ["finish", {"reason": "stop"}]]},
        {"events": [["of another version", {}], ["finish", {"reason": "stop"}]]},
        {"events": [["embeddings", {"vectors": [[None]]}], ["finish", {"reason": "stop"}]]},
        {"events": [["finish", {"reason": "stop"}]], "body": "no base64!"},
        [],
        None,
    ],
    ids=repr,
)
def test_an_entry_of_another_shape_is_refused(entry) -> None:
    """It is read whole or not at all."""
    assert load(msgspec.json.encode(entry)) is None


@pytest.mark.parametrize("data", [3, 1j, None, [b"x"]], ids=repr)
def test_what_a_broken_store_returns_is_refused(data) -> None:
    """Anything but bytes is no answer; text is as good as bytes."""
    assert load(data) is None
    assert load(dump([TextDelta("a"), Finish("stop")]).decode()) is not None
