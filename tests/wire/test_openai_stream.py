"""OpenAI's chat stream, and what others make of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, ToolCallDelta, UsageEvent
from resilient_llm.models import Usage
from resilient_llm.wire.openai import ChatStreamDecoder

DONE = b"data: [DONE]\n\n"
COUNTS = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
USAGE = UsageEvent(Usage(4, 2, 6))


def line(**chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def say(finish: Any = None, /, **delta: Any) -> bytes:
    return line(id="c1", model="m-1", choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


def tool(**call: Any) -> bytes:
    return say(tool_calls=[call])


def decode(*reads: bytes) -> tuple[list[Event], ChatStreamDecoder]:
    decoder = ChatStreamDecoder()
    events = [event for read in reads for event in decoder.feed(read)]
    return events + decoder.eof(), decoder


def failing(*reads: bytes) -> tuple[list[Event], BackendFailure | ModelResponseInvalidError]:
    events, decoder = decode(*reads)
    assert decoder.failure is not None
    assert not any(isinstance(event, Finish) for event in events)
    assert decoder.feed(say(content="late")) == []
    return events, decoder.failure


TEXT = [
    say(role="assistant", content="", refusal=None),
    say(content="Hel"),
    say(content="lo"),
    say("stop"),
    line(id="c1", choices=[], usage=COUNTS),
    DONE,
]
HELLO = [TextDelta("Hel"), TextDelta("lo"), USAGE, Finish("stop")]


def test_text():
    """Text comes piece by piece, then the usage, then the finish; the head of the answer is kept."""
    events, decoder = decode(*TEXT)
    assert events == HELLO
    assert (decoder.model, decoder.id, decoder.finish_reason, decoder.done) == ("m-1", "c1", "stop", True)
    assert decoder.failure is None


def test_every_cut_gives_the_same():
    """Wherever the bytes are cut, the events are the same, and done is told with the end marker."""
    wire = b"".join(TEXT)
    for cut in range(len(wire)):
        assert decode(wire[:cut], wire[cut:])[0] == HELLO
    assert decode(*(wire[i : i + 1] for i in range(len(wire))))[0] == HELLO


def test_finish_waits_for_the_marker():
    """The finish reason alone brings no Finish, for usage may follow; the marker does."""
    decoder = ChatStreamDecoder()
    assert decoder.feed(say("stop", content="a")) == [TextDelta("a")]
    assert (decoder.finish_reason, decoder.done) == ("stop", False)
    assert decoder.feed(DONE) == [Finish("stop")]
    assert decoder.done
    assert decoder.feed(say(content="b")) == []
    assert decoder.eof() == []


def test_finish_reason_without_marker_is_complete():
    """The end of the bytes after a finish reason completes the stream, once."""
    events, decoder = decode(say(content="a"), say("length"))
    assert events == [TextDelta("a"), Finish("length")]
    assert decoder.eof() == []


@pytest.mark.parametrize(
    "marker", [b"data:[DONE]\n\n", b"data:   [DONE]  \r\n\r\n", b"data: [DONE] bye\n\n", b"data: [DONE]"]
)
def test_markers(marker: bytes):
    """White space around the marker, text after it and a missing line end do not hide it."""
    assert decode(say("stop", content="a"), marker)[0] == [TextDelta("a"), Finish("stop")]


def test_data_after_the_marker_is_ignored():
    """What follows the marker in the same read is not read, be it garbage."""
    events, decoder = decode(say("stop", content="a") + DONE + say(content="b") + b"data: <x>\n\n")
    assert events == [TextDelta("a"), Finish("stop")]
    assert decoder.failure is None


@pytest.mark.parametrize(
    ("reads", "said"),
    [([], "without an answer"), ([DONE], "without an answer"), ([b": ping\n\n"], "without an answer"),
     ([say(role="assistant"), DONE], "without an answer"), ([say(content="a")], "broke off"),
     ([line(usage=COUNTS), DONE], "without an answer"), ([say(content="a"), DONE], "broke off"),
     ([say(content="a") + DONE], "broke off"), ([say(content="a"), b'data: {"choices":[{"del'], "broke off")],
)  # fmt: skip
def test_streams_that_break_off(reads: list[bytes], said: str):
    """No finish reason is a failure that says whether anything had come, also where the marker came."""
    failure = failing(*reads)[1]
    assert isinstance(failure, ModelResponseInvalidError)
    assert said in failure.message


def test_backend_without_finish_reasons():
    """Where the key is never there, the marker ends the stream."""
    events, decoder = decode(line(choices=[{"delta": {"content": "a"}}]), DONE)
    assert events == [TextDelta("a"), Finish("stop")]
    assert decoder.finish_reason == "stop"


def test_cut_usage_after_the_finish_reason():
    """A last chunk that the end cuts is dropped if the finish reason had come."""
    assert decode(say("stop", content="a"), b'data: {"choices":[],"us')[0] == [TextDelta("a"), Finish("stop")]


def test_last_chunk_without_line_end():
    """A whole chunk that lacks its blank line counts."""
    assert decode(say(content="a"), say("stop", content="b").rstrip())[0][1:] == [
        TextDelta("b"),
        Finish("stop"),
    ]


@pytest.mark.parametrize(
    ("word", "reason"),
    [("eos", "stop"), ("end", "stop"), ("end_turn", "stop"), ("max_tokens", "length"), ("odd", "odd"),
     ("content_filter", "content_filter")],
)  # fmt: skip
def test_finish_words(word: str, reason: str):
    """Other backends' words are translated, unknown ones stay."""
    assert decode(say(word, content="a"), DONE)[0][-1] == Finish(reason)


def test_repeated_finish_reason_and_usage():
    """OpenRouter repeats the finish with usage; comments, names and roles are ignored."""
    events, _ = decode(
        b": OPENROUTER PROCESSING\n\n",
        b"event: message\n" + say(role="assistant", content="a"),
        b'event: ping\ndata: {"type":"ping"}\n\nevent: ping\ndata: pong\n\ndata:\n\n',
        say("stop", role="assistant", content=""),
        line(choices=[{"delta": {"role": "assistant"}, "finish_reason": "stop"}], usage=COUNTS),
        DONE,
    )
    assert events == [TextDelta("a"), USAGE, Finish("stop")]


def test_last_usage_wins():
    """Usage on every chunk gives one event, with the last that was told."""
    first = {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}
    events, _ = decode(
        line(choices=[{"delta": {"content": "a"}, "finish_reason": None}], usage=first),
        line(choices=[{"delta": {}, "finish_reason": "stop"}], usage=COUNTS),
        line(choices=[], usage=None),
        DONE,
    )
    assert events == [TextDelta("a"), USAGE, Finish("stop")]


def test_usage_of_groq():
    """Usage in Groq's corner is read, but does not replace OpenAI's."""
    finish = [{"delta": {}, "finish_reason": "stop"}]
    corner = {"usage": COUNTS}
    assert decode(say(content="a"), line(choices=finish, x_groq=corner))[0][1] == USAGE
    own = {"prompt_tokens": 9}
    events, _ = decode(say(content="a"), line(choices=finish, x_groq=corner, usage=own))
    assert events[1] == UsageEvent(Usage(9))


def test_chunks_without_content():
    """Azure's first chunk, its filter's chunks, null choices and null deltas say nothing."""
    events, decoder = decode(
        line(choices=[], created=0, id="", model="", object="", prompt_filter_results=[]),
        line(choices=None),
        line(choices=[{"delta": None, "finish_reason": None}]),
        line(choices=[{"content_filter_results": {}, "finish_reason": None}], object=""),
        line(prompt_progress={"total": 5}),
        *TEXT,
    )
    assert events == HELLO
    assert (decoder.model, decoder.id) == ("m-1", "c1")


def test_reasoning_in_either_field():
    """Reasoning is read from both names, once where a backend sends both."""
    events, _ = decode(
        say(reasoning_content="a"),
        say(reasoning="b"),
        say(reasoning="c", reasoning_content="c", content="d"),
        say("stop"),
    )
    assert events[:-1] == [ReasoningDelta("a"), ReasoningDelta("b"), ReasoningDelta("c"), TextDelta("d")]


def test_refusal_is_text():
    """A refusal is what the model said."""
    assert decode(say(refusal=""), say(refusal="No."), say("stop"))[0] == [TextDelta("No."), Finish("stop")]


def test_tool_call():
    """A tool call comes in fragments: id and name in the first, then its arguments."""
    events, _ = decode(
        say(
            role="assistant", tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]
        ),
        tool(index=0, function={"arguments": '{"x"', "name": ""}),
        tool(index=0, function={"arguments": ":1}"}),
        say("tool_calls"),
        DONE,
    )
    assert events == [
        ToolCallDelta(0, "a", "f", ""),
        ToolCallDelta(0, "", "", '{"x"'),
        ToolCallDelta(0, "", "", ":1}"),
        Finish("tool_calls"),
    ]


def test_legacy_function_call():
    """A legacy call is a call without an id."""
    events, _ = decode(
        say(function_call={"name": "f", "arguments": ""}),
        say(function_call={"arguments": "{}"}),
        say("function_call"),
    )
    assert events == [ToolCallDelta(0, "", "f", ""), ToolCallDelta(0, "", "", "{}"), Finish("function_call")]


def test_lenient_types():
    """Numbers for strings, content in parts and arguments as an object are read all the same."""
    events, decoder = decode(
        line(id=7, model="m", choices=[{"index": "0", "delta": {"content": 42}, "finish_reason": None}]),
        say(content=[{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "so"}]),
        line(
            choices=[
                None,
                3,
                {"delta": {"tool_calls": [{"id": 365, "function": {"name": "f", "arguments": {"x": 1}}}]}},
            ]
        ),
        line(
            choices=[{"finish_reason": "stop", "delta": {"content": 1}}],
            usage=COUNTS | {"total_tokens": "6"},
            x_groq=1,
        ),
        DONE,
    )
    assert events == [
        TextDelta("42"),
        ReasoningDelta("hm"),
        TextDelta("so"),
        ToolCallDelta(0, "365", "f", '{"x":1}'),
        TextDelta("1"),
        USAGE,
        Finish("stop"),
    ]
    assert decoder.id == "7"


def test_broken_text_in_arguments():
    """Half a surrogate pair in arguments that came as an object breaks nothing either."""
    events, _ = decode(
        tool(index=0, id="a", function={"name": "f", "arguments": {"x": "\ud83d"}}), say("stop")
    )
    assert events == [ToolCallDelta(0, "a", "f", '{"x": "\\ud83d"}'), Finish("stop")]


def test_broken_text_becomes_replacement():
    """Half a surrogate pair and bytes that are no UTF-8 become U+FFFD instead of breaking the stream."""
    events, _ = decode(
        b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\xff"},"finish_reason":"stop"}]}\n\n',
    )
    assert events == [TextDelta("a\ufffd"), TextDelta("\ufffd"), Finish("stop")]


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b'data: {"error":{"message":"x"}}\n\n', '{"error":{"message":"x"}}'),
        (b'data: {"error":"x"}\n\n', '{"error":"x"}'),
        (b'data: {"object":"error","message":"x"}\n\n', '{"object":"error","message":"x"}'),
        (b'event: error\ndata: {"code":500}\n\n', '{"code":500}'),
        (b"event: error\ndata: out of memory\n\n", "out of memory"),
        (b'error: {"code":500}\n\n', '{"code":500}'),
        (b'{"error":"x"}\n', '{"error":"x"}'),
        (b'{"error":"x"}', '{"error":"x"}'),
        (b'data: {"choices":[{"finish_reason":"error"}]}\n\n', '{"choices":[{"finish_reason":"error"}]}'),
        (b'data: {"id":1,"error":"x","choices":[]}\n\n', '{"id":1,"error":"x","choices":[]}'),
    ],
)
def test_errors_in_the_stream(wire: bytes, body: str):
    """An error of the backend in any framing is a failure for the classifier, after the events before it."""
    events, failure = failing(say(content="a") + wire)
    assert events == [TextDelta("a")]
    assert isinstance(failure, BackendFailure)
    assert (failure.status, failure.headers, failure.body, failure.surface) == (200, {}, body, "stream")


@pytest.mark.parametrize(
    "data", [b"<html>oops", b'{"choices": tru', b"[1]", b"null", b"\xff", b'{"a":' * 50_000]
)
def test_garbage_in_the_stream(data: bytes):
    """A line that is no JSON object is a failure whose message stays short, after the events before it."""
    events, failure = failing(say(content="a"), b"data: " + data + b"\n\n", DONE)
    assert events == [TextDelta("a")]
    assert isinstance(failure, ModelResponseInvalidError)
    assert len(failure.message) < 120


def test_no_answer_is_quoted():
    """The message about broken JSON holds nothing of what the model said."""
    failure = failing(b'data: {"choices":[{"delta":{"content":"my secret"}}\n\n')[1]
    assert "secret" not in str(failure)


def test_too_long_event():
    """An event over the limit is a failure, after the events before it."""
    decoder = ChatStreamDecoder(max_event_bytes=200)
    assert decoder.feed(say(content="a") + b"data: " + b"x" * 300) == [TextDelta("a")]
    assert isinstance(decoder.failure, ModelResponseInvalidError)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\r\n "])
def test_plain_body_instead_of_a_stream(start: bytes):
    """A backend that ignores `stream` is understood: its whole answer comes at the end of the bytes."""
    body = json.dumps(
        {
            "id": "c9",
            "model": "m",
            "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        }
    ).encode()
    for reads in ([start + body], [start, body[:9], body[9:]]):
        events, decoder = decode(*reads)
        assert events == [TextDelta("hi"), Finish("stop")]
        assert (decoder.model, decoder.id, decoder.finish_reason) == ("m", "c9", "stop")


def test_plain_error_instead_of_a_stream():
    """LM Studio's 200 with an error instead of a stream is a failure for the classifier."""
    failure = failing(b'{"error":"Unexpected endpoint or method. (POST /x)"}')[1]
    assert isinstance(failure, BackendFailure)


def test_page_instead_of_a_stream():
    """A gateway's page is no answer."""
    failure = failing(b"<html>", b"<body>")[1]
    assert isinstance(failure, ModelResponseInvalidError)


def test_plain_body_is_bounded():
    """A plain body over the limit is a failure, and is not kept."""
    decoder = ChatStreamDecoder(max_event_bytes=64)
    decoder.feed(b"{" + b" " * 60)
    assert decoder.failure is None
    decoder.feed(b" " * 10)
    assert isinstance(decoder.failure, ModelResponseInvalidError)
    assert decoder.eof() == []


CHUNKS = st.sampled_from([
    *TEXT, say("length"), tool(index=0, id="a", function={"name": "f", "arguments": "{"}), b"data: {}\n\n",
    tool(function={"arguments": "}"}), b'data: {"error":"x"}\n\n', b"data: [1]\n\n", b"error: x\n", b"{",
    b": ping\n\n", b"\xff", b"\r\n", say(content=3), say(content="\u2028é"),
    b'data: {"choices":[{"delta":{"content":"\x01"}}]}\n\n',
])  # fmt: skip


@given(
    st.lists(CHUNKS | st.binary(max_size=6), max_size=12).map(b"".join),
    st.lists(st.integers(1, 60), max_size=30),
)
def test_any_bytes_any_split(wire: bytes, sizes: list[int]):
    """Nothing is ever raised, and the same bytes give the same events and the same failure however they are cut."""
    start, reads = 0, []
    for size in [*sizes, len(wire)]:
        reads.append(wire[start : start + size])
        start += size
    events, decoder = decode(*reads)
    expected, whole = decode(wire)
    assert events == expected
    assert repr(decoder.failure) == repr(whole.failure)
    assert (decoder.failure is None) == bool(events and isinstance(events[-1], Finish))
