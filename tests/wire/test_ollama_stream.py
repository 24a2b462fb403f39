"""Ollama's chat stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import BackendFailure, ErrorCode, ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, ToolCall, UsageEvent
from resilient_llm.models import Usage
from resilient_llm.policy.classify_exception import classify_exception
from resilient_llm.wire.ollama import ChatStreamDecoder, decode_chat

AT = "2026-08-21T10:00:00.1Z"
COUNTS = {"prompt_eval_count": 26, "eval_count": 7, "total_duration": 512000000}
USAGE = UsageEvent(Usage(26, 7, 33))


def line(**fields: Any) -> bytes:
    return json.dumps({"model": "qwen3", "created_at": AT, **fields}).encode() + b"\n"


def say(content: str = "", /, **message: Any) -> bytes:
    return line(message={"role": "assistant", "content": content, **message}, done=False)


def end(reason: str | None = "stop", /, **fields: Any) -> bytes:
    told = {} if reason is None else {"done_reason": reason}
    return line(message={"role": "assistant", "content": ""}, done=True, **told, **fields)


def call(name: str = "f", arguments: Any = None, **fields: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": {} if arguments is None else arguments}, **fields}


def decode(*reads: bytes, **options: Any) -> tuple[list[Event], ChatStreamDecoder]:
    decoder = ChatStreamDecoder(**options)
    events = [event for read in reads for event in decoder.feed(read)]
    return events + decoder.eof(), decoder


def failing(*reads: bytes) -> tuple[list[Event], BackendFailure | ModelResponseInvalidError]:
    events, decoder = decode(*reads)
    assert decoder.failure is not None
    assert not any(isinstance(event, Finish) for event in events)
    assert decoder.feed(say("late")) == decoder.eof() == []
    return events, decoder.failure


TEXT = [say("Hel"), say("lo"), end(**COUNTS)]
HELLO = [TextDelta("Hel"), TextDelta("lo"), USAGE, Finish("stop")]


def test_text():
    """Text comes piece by piece, then usage and finish with the last line; the model is kept."""
    events, decoder = decode(*TEXT)
    assert events == HELLO
    assert (decoder.model, decoder.id, decoder.finish_reason, decoder.done) == ("qwen3", None, "stop", True)
    assert decoder.failure is None


def test_every_cut_gives_the_same():
    """Wherever the bytes are cut, the events are the same."""
    wire = b"".join(TEXT)
    for cut in range(len(wire)):
        assert decode(wire[:cut], wire[cut:])[0] == HELLO
    assert decode(*(wire[i : i + 1] for i in range(len(wire))))[0] == HELLO


def test_done_is_told_with_the_last_line():
    """Nothing more is waited for, and what follows is ignored."""
    decoder = ChatStreamDecoder()
    assert decoder.feed(say("a")) == [TextDelta("a")]
    assert not decoder.done
    assert decoder.feed(end() + say("b") + b"<x>") == [Finish("stop")]
    assert decoder.done
    assert decoder.feed(say("b")) == decoder.eof() == []


def test_a_last_line_without_its_end():
    """The line end may be missing."""
    assert decode(say("a"), end(**COUNTS).rstrip())[0] == [TextDelta("a"), USAGE, Finish("stop")]


def test_thoughts_come_before_the_answer():
    """What the model thinks is reasoning."""
    events, _ = decode(say(thinking="hm"), say("so", thinking=" then"), end())
    assert events == [ReasoningDelta("hm"), ReasoningDelta(" then"), TextDelta("so"), Finish("stop")]


@pytest.mark.parametrize(
    ("told", "reason"),
    [("stop", "stop"), ("length", "length"), (None, "stop"), ("", "stop"), ("load", "load")],
)
def test_finish_reasons(told: str | None, reason: str):
    """Ollama's words are OpenAI's; an engine that gives no reason has stopped."""
    assert decode(say("a"), end(told))[0][-1] == Finish(reason)


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({}, None),
        ({"eval_count": 7}, Usage(None, 7, None)),
        ({"prompt_eval_count": 26}, Usage(26, None, None)),
        ({"prompt_eval_count": "26", "eval_count": 7}, Usage(26, 7, 33)),
    ],
)
def test_usage_as_far_as_it_is_told(counts: dict[str, Any], usage: Usage | None):
    """Counts of zero are left out by Ollama; what is missing is not made up."""
    events, _ = decode(say("a"), end(**counts))
    assert [event.usage for event in events if isinstance(event, UsageEvent)] == ([usage] if usage else [])


def test_tool_calls_are_whole_and_get_ids():
    """Calls of several lines are numbered in order; the finish reason says that there were calls."""
    events, _ = decode(
        say(tool_calls=[call("f", {"city": "Oslo", "n": 1.50})]),
        line(message={"tool_calls": [call("g"), call("h", {}, id="call_x")]}, done=True, done_reason="stop"),
    )
    assert events == [
        ToolCall(0, "call_20260821T1000001Z_0", "f", '{"city": "Oslo", "n": 1.5}'),
        ToolCall(1, "call_20260821T1000001Z_1", "g", "{}"),
        ToolCall(2, "call_x", "h", "{}"),
        Finish("tool_calls"),
    ]


def test_ids_of_different_answers_differ():
    """A conversation holds many answers, and some backends refuse an id that stands in it twice."""
    ids = set()
    for time in ("2026-08-21T10:00:00.1Z", "2026-08-21T10:00:07.25Z", ""):
        events, _ = decode(line(created_at=time, message={"tool_calls": [call()]}, done=True))
        assert isinstance(events[0], ToolCall)
        ids.add(events[0].id)
    assert len(ids) == 3
    assert "call_0" in ids


def test_legacy_function_calls():
    """Who asked with `functions` gets a function call: no id, and a finish reason of its own."""
    events, _ = decode(say(tool_calls=[call("f", {"a": 1}, id="call_x")]), end(), legacy=True)
    assert events == [ToolCall(0, "", "f", '{"a": 1}'), Finish("function_call")]


def test_length_wins_over_tool_calls():
    """An answer that was cut says so, calls or not."""
    assert decode(say(tool_calls=[call()]), end("length"))[0][-1] == Finish("length")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (b'{"a" : 1e400}', '{"a" : 1e400}'),
        (b'"{\\"a\\":1}"', '{"a":1}'),
        (b"null", ""),
        (b'{"a":"\xc3\xa9"}', '{"a":"é"}'),
        (b'{"a":"\xff"}', '{"a":"\ufffd"}'),
        (b"[1]", "[1]"),
    ],
)
def test_arguments_stay_as_the_model_wrote_them(arguments: bytes, text: str):
    """The object becomes its own text, byte for byte, as far as it is text; a string is taken for that text."""
    wire = b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":%s}}]},"done":true}\n' % arguments
    assert decode(wire)[0][0] == ToolCall(0, "call_0", "f", text)


def test_lenient_types():
    """Null, numbers for strings and odd lists are read all the same."""
    events, decoder = decode(
        line(message={"content": None, "thinking": None}, done=False),
        line(
            message={
                "content": 42,
                "tool_calls": [None, {"id": 7, "function": {"name": "f", "arguments": {"x": 1}}}],
            }
        ),
        line(message=None),
        line(model=3, message={"content": "\ud83d"}, done=True, done_reason=None),
    )
    assert events == [
        TextDelta("42"),
        ToolCall(0, "7", "f", '{"x":1}'),
        TextDelta("\ufffd"),
        Finish("tool_calls"),
    ]
    assert decoder.model == "qwen3"


def test_lenient_arguments():
    """Arguments that only the lenient parser reads are written again."""
    events, _ = decode(
        line(message={"content": 1, "tool_calls": [call("f", {"a": "\ud83d"}), call("g", None)]}, done=True)
    )
    assert [event.arguments for event in events if isinstance(event, ToolCall)] == ['{"a": "\\ud83d"}', "{}"]


@pytest.mark.parametrize(
    ("reads", "said"),
    [
        ([], "without an answer"),
        ([b"\n"], "without an answer"),
        ([say()], "without an answer"),
        ([say("a")], "broke off"),
        ([say("a"), end()[:-9]], "broke off"),
        ([say("a"), b'{"model":"m'], "broke off"),
    ],
)
def test_streams_that_break_off(reads: list[bytes], said: str):
    """Without `done` the stream is no answer; the failure says whether anything had come."""
    failure = failing(*reads)[1]
    assert isinstance(failure, ModelResponseInvalidError)
    assert said in failure.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("an error was encountered while running the model: unexpected EOF", ErrorCode.MODEL_UNAVAILABLE),
        ("model runner has unexpectedly stopped", ErrorCode.MODEL_UNAVAILABLE),
        ("server busy, please try again.  maximum pending requests exceeded", ErrorCode.MODEL_OVERLOADED),
    ],
)
def test_an_error_in_the_stream(error: str, code: ErrorCode):
    """A line with `error` is the backend's, whatever the status was, and comes after the events before it."""
    events, failure = failing(say("a") + line(error=error))
    assert events == [TextDelta("a")]
    assert isinstance(failure, BackendFailure)
    assert (failure.status, failure.surface) == (200, "stream")
    assert classify_exception(failure, "ollama").code is code


@pytest.mark.parametrize(
    "data", [b"<html>oops", b'{"message": tru', b"[1]", b"null", b"\xff", b'{"a":' * 50_000]
)
def test_garbage(data: bytes):
    """A line that is no JSON object is a failure whose message stays short, after the events before it."""
    events, failure = failing(say("a"), data + b"\n", end())
    assert events == [TextDelta("a")]
    assert isinstance(failure, ModelResponseInvalidError)
    assert len(failure.message) < 120


def test_no_answer_is_quoted():
    """The message about broken JSON holds nothing of what the model said."""
    assert "secret" not in str(failing(b'{"message":{"content":"my secret"\n')[1])


def test_too_long_line():
    """A line over the limit is a failure, after the events before it."""
    decoder = ChatStreamDecoder(max_line_bytes=200)
    assert decoder.feed(say("a") + b"x" * 300) == [TextDelta("a")]
    assert isinstance(decoder.failure, ModelResponseInvalidError)


PIECES = st.sampled_from(
    [
        *TEXT,
        end("length"),
        say(thinking="hm"),
        say(tool_calls=[call("f", {"a": 1})]),
        line(error="x"),
        b"{",
        b"}",
        b"[1]\n",
        b"\n",
        b"\r\n",
        b"\xff",
        say("\u2028é"),
        line(message={"content": 3}),
        b'{"message":{"tool_calls":[{"function":',
        b'{"name":"f","arguments":"\\ud83d"}}]}}\n',
        b'{"name":"f","arguments":{"a":"\xff"}}]}}\n',
        b'{"message":{"content":5,"tool_calls":[{"function":{"arguments":{"a":"\\ud83d"}}}]}}\n',
    ]
)


@given(
    st.lists(PIECES | st.binary(max_size=6), max_size=12).map(b"".join),
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


@given(
    st.lists(
        st.sampled_from([say("a"), say(thinking="b"), say(tool_calls=[call("f", {"x": 1})])]), max_size=5
    ),
    st.sampled_from(["stop", "length"]),
)
def test_a_stream_says_what_a_whole_answer_says(lines: list[bytes], reason: str):
    """The same message in one piece gives the same text, thoughts, calls, usage and finish."""
    events, _ = decode(*lines, end(reason, **COUNTS))
    messages = [json.loads(piece)["message"] for piece in lines]
    whole = decode_chat(
        line(
            message={
                "content": "".join(message["content"] for message in messages),
                "thinking": "".join(message.get("thinking", "") for message in messages),
                "tool_calls": [item for message in messages for item in message.get("tool_calls", [])],
            },
            done=True,
            done_reason=reason,
            **COUNTS,
        )
    )

    def told(given: list[Event]) -> tuple[object, ...]:
        return (
            "".join(event.text for event in given if isinstance(event, TextDelta)),
            "".join(event.text for event in given if isinstance(event, ReasoningDelta)),
            [event for event in given if isinstance(event, ToolCall | UsageEvent | Finish)],
        )

    assert told(events) == told(whole.events)
