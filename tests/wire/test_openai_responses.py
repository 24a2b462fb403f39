"""Answers of the Responses API: what is read, how they end, any split of the bytes, any bytes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import BackendFailure, LLMError, ModelResponseInvalidError
from resilient_llm.events import Finish, ReasoningDelta, TextDelta, ToolCallDelta, UsageEvent
from resilient_llm.wire.assembly import Assembler
from resilient_llm.wire.openai_choices import ChoicesDecoder
from resilient_llm.wire.openai_responses import ResponseStreamDecoder, decode_response

USAGE = {
    "input_tokens": 3,
    "output_tokens": 2,
    "total_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 1},
}
MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "One two"}]}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
THOUGHT = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}
WHOLE = {
    "id": "resp_1",
    "model": "m",
    "status": "completed",
    "output": [THOUGHT, MESSAGE, CALL],
    "usage": USAGE,
}


def written(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


BEGUN = {"type": "response.created", "response": {**WHOLE, "output": [], "status": "in_progress"}}
STREAM = written(
    BEGUN,
    {"type": "response.reasoning_summary_text.delta", "delta": "Hm"},
    {"type": "response.output_text.delta", "output_index": 1, "delta": "One "},
    {"type": "response.output_text.delta", "output_index": 1, "delta": "two"},
    {"type": "response.output_item.added", "output_index": 2, "item": {**CALL, "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a":'},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "1}"},
    {"type": "response.completed", "response": WHOLE},
)


def run(decoder: Any, *pieces: bytes) -> list[Any]:
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.eof()


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_any_split_gives_the_same_events(cuts):
    """Text, thoughts, a call in fragments, usage, and the end, wherever the reads are cut."""
    places = [0, *sorted(cuts), len(STREAM)]
    decoder = ResponseStreamDecoder()
    events = run(decoder, *(STREAM[a:b] for a, b in pairwise(places)))
    assert decoder.failure is None
    assert [type(event) for event in events] == [
        *(
            ReasoningDelta,
            TextDelta,
            TextDelta,
            ToolCallDelta,
            ToolCallDelta,
            ToolCallDelta,
            UsageEvent,
            Finish,
        )
    ]
    assert (decoder.model, decoder.id, events[-1]) == ("m", "resp_1", Finish("tool_calls"))


def test_whole_and_streamed_say_the_same():
    """The assembled stream is what the whole response says."""
    streamed = Assembler().feed(run(ResponseStreamDecoder(), STREAM))
    whole = decode_response(json.dumps(WHOLE).encode()).events
    assert {event for event in streamed if not isinstance(event, TextDelta)} == {
        event for event in whole if not isinstance(event, TextDelta)
    }


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (
            {
                "type": "response.incomplete",
                "response": {"incomplete_details": {"reason": "max_output_tokens"}},
            },
            "length",
        ),
        ({"type": "response.completed", "response": {}}, "stop"),
    ],
)
def test_how_a_stream_ends(end, reason):
    """By its last event, whatever it holds."""
    assert run(ResponseStreamDecoder(), written(BEGUN, end))[-1] == Finish(reason)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (STREAM[:-300], ModelResponseInvalidError),
        (b"", ModelResponseInvalidError),
        (written(BEGUN, {"type": "error", "code": "server_error", "message": "x"}), BackendFailure),
        (
            written(BEGUN, {"type": "response.failed", "response": {"error": {"code": "server_error"}}}),
            BackendFailure,
        ),
        (
            b'data: {"type":"response.failed","response":{"error":{"message":"\\ud83d"}}}\n\n',
            BackendFailure,
        ),
        (b'{"error": {"message": "no"}}', BackendFailure),
        (b'{"status": "failed", "error": {"code": "x"}}', BackendFailure),
        (b'{"a": 1}', ModelResponseInvalidError),
    ],
)
def test_what_is_no_answer(data, kind):
    """A stream without its last event, an error, a response that failed, no response at all."""
    decoder = ResponseStreamDecoder()
    run(decoder, data)
    assert isinstance(decoder.failure, kind)


@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([STREAM[:90], b"data: {", b'"type":3}\n\n'])),
        max_size=5,
    )
)
def test_any_bytes_are_events_or_a_failure(pieces):
    """Nothing is raised, whatever comes."""
    for decoder in (ResponseStreamDecoder(), ChoicesDecoder(2)):
        run(decoder, *pieces)
        assert decoder.failure is None or isinstance(decoder.failure, LLMError | BackendFailure)


def choice(index: int, text: str | None = None, reason: str | None = None) -> bytes:
    body = {"index": index, "delta": {"content": text} if text else {}, "finish_reason": reason}
    return b"data: %b\n\n" % json.dumps({"choices": [body]}).encode()


@pytest.mark.parametrize(
    ("data", "complete"),
    [
        ([choice(0, "a"), choice(1, "b"), choice(0, None, "stop"), choice(1, None, "stop")], True),
        ([choice(0, "a", "stop"), choice(1, "b", "length")], True),
        ([choice(0, "a", "stop")], True),
        ([choice(0, "a"), choice(1, "b"), choice(0, None, "stop")], False),
        ([choice(1, "b", "stop"), choice(0, "a")], False),
    ],
)
@pytest.mark.parametrize("marker", [b"data: [DONE]\n\n", b""])
def test_several_choices_are_complete_when_all_that_began_are(data, complete, marker):
    """A server may give fewer than were asked for, but none may break off; only the first one's text is read."""
    decoder = ChoicesDecoder(2)
    events = run(decoder, b"".join(data) + marker)
    assert (decoder.failure is None) is complete
    assert {event.text for event in events if isinstance(event, TextDelta)} == {"a"}
