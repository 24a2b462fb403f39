"""Anthropic's stream of events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.anthropic_cases import (
    CITATION,
    HI,
    PING,
    SEARCH,
    SEARCH_RESULT,
    STREAMS,
    block,
    ending,
    sse,
    start,
    text_block,
    thinking_block,
    tool_block,
    turns,
)

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta, UsageEvent
from resilient_llm.models import Usage
from resilient_llm.wire.anthropic import ChatStreamDecoder, decode_chat
from resilient_llm.wire.assembly import Assembler

STOP = {"type": "message_stop"}
LATER = UsageEvent(Usage(18, 20, 38, 5))
"""The usage of `start()` and `ending()` together."""


def decode(*reads: bytes, **options: Any) -> tuple[list[Event], ChatStreamDecoder]:
    decoder = ChatStreamDecoder(**options)
    events = [event for read in reads for event in decoder.feed(read)]
    return events + decoder.eof(), decoder


def events(*wire: dict[str, Any], **options: Any) -> list[Event]:
    out, decoder = decode(sse(*wire), **options)
    assert decoder.failure is None
    return out


def failing(*reads: bytes) -> tuple[list[Event], Exception]:
    out, decoder = decode(*reads)
    assert decoder.failure is not None
    assert not decoder.done
    return out, decoder.failure


def test_text():
    """Pieces of text as they come, then usage and finish; pings and empty starts say nothing."""
    out, decoder = decode(sse(*STREAMS["text"]))
    assert out == [TextDelta("Hel"), TextDelta("lo"), LATER, Finish("stop")]
    assert (decoder.model, decoder.id, decoder.finish_reason, decoder.done) == (
        "claude-x",
        "msg_1",
        "stop",
        True,
    )
    assert decoder.extra == {}


def test_finish_comes_with_the_marker():
    """Nothing is waited for after `message_stop`, and nothing after it counts."""
    decoder = ChatStreamDecoder()
    wire = sse(*STREAMS["text"])
    assert decoder.feed(wire[:-4]) == [TextDelta("Hel"), TextDelta("lo")]
    assert (decoder.finish_reason, decoder.done) == ("stop", False)
    assert decoder.feed(wire[-4:]) == [LATER, Finish("stop")]
    assert decoder.feed(sse(*STREAMS["text"])) == decoder.eof() == []


def test_tool_calls():
    """Calls are numbered from 0; a call without arguments has none, told at its stop."""
    assert events(*STREAMS["tools"]) == [
        TextDelta("Looking."),
        ToolCallDelta(0, "toolu_1", "get_weather", ""),
        ToolCallDelta(0, "", "", '{"ci'),
        ToolCallDelta(0, "", "", 'ty": "Os'),
        ToolCallDelta(0, "", "", 'lo"}'),
        ToolCallDelta(1, "toolu_2", "now", ""),
        ToolCallDelta(1, "", "", "{}"),
        UsageEvent(Usage(20, 20, 40, 5)),
        Finish("tool_calls"),
    ]


def test_input_at_the_start():
    """Some servers write a call's input at once; pieces, where there are any, are what counts."""
    whole = block(0, "tool_use", id="a", name="f", input={"x": 1})
    both = block(
        0, "tool_use", {"type": "input_json_delta", "partial_json": "{}"}, id="a", name="f", input={"x": 1}
    )
    assert events(start(), *whole, *ending())[1] == ToolCallDelta(0, "", "", '{"x":1}')
    assert events(start(), *both, *ending())[1] == ToolCallDelta(0, "", "", "{}")


def test_legacy_function_call():
    """Who asked with functions gets a call without an id, and its word for it."""
    wire = [start(), *tool_block(0, "toolu_1", "f", "{}"), *ending("tool_use")]
    out = events(*wire, legacy=True)
    assert out == [
        ToolCallDelta(0, "", "f", ""),
        ToolCallDelta(0, "", "", "{}"),
        LATER,
        Finish("function_call"),
    ]


def test_thoughts():
    """Thoughts are reasoning; their signatures, redacted and silent ones are kept to be sent back."""
    out, decoder = decode(sse(*STREAMS["thoughts"]))
    assert out[:3] == [ReasoningDelta("Let me "), ReasoningDelta("see."), TextDelta("Hm.")]
    assert out[-2:] == [UsageEvent(Usage(18, 20, 38, 5, 7)), Finish("tool_calls")]
    assert decoder.extra["anthropic_content"] == [
        {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eHh4"},
        {"type": "text", "text": "Hm."},
        {"type": "thinking", "thinking": "", "signature": "b21pdA=="},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
    ]


def test_servers_tools_and_citations():
    """What the API's own tools did is no tool call of the caller's, and is kept with all that belongs to it."""
    out, decoder = decode(sse(*STREAMS["search"]))
    assert out == [TextDelta("The Rhine."), LATER, Finish("pause_turn")]
    cited = {"type": "text", "text": "The Rhine.", "citations": [CITATION]}
    assert decoder.extra["anthropic_content"] == [SEARCH, SEARCH_RESULT, cited]


def test_citations_alone_are_kept():
    """A text with its sources is more than a text."""
    cited = block(
        0,
        "text",
        {"type": "text_delta", "text": "Grass."},
        {"type": "citations_delta", "citation": CITATION},
        text="",
    )
    _, decoder = decode(sse(start(), *cited, *ending()))
    kept = [{"type": "text", "text": "Grass.", "citations": [CITATION]}]
    assert decoder.extra == {"anthropic_content": kept}


def test_no_citation_is_none():
    """A gateway writes null where there is no citation: the text is no more than a text."""
    plain = block(0, "text", {"type": "text_delta", "text": "Grass.", "citation": None}, text="")
    _, decoder = decode(sse(start(), *plain, *ending()))
    assert decoder.extra == {}


def test_a_cut_call_is_not_kept():
    """A call cut by the answer's length is no call, neither handed over nor sent back; the thought before it is."""
    for cut in (tool_block(1, "a", "f", '{"x', stop=False), tool_block(1, "a", "f", stop=False)):
        out, decoder = decode(sse(start(), *thinking_block(0, "c2ln", "Hm."), *cut, *ending("max_tokens")))
        said = Assembler().feed(out)
        assert [type(event) for event in said] == [ReasoningDelta, UsageEvent, Finish]
        assert [kept["type"] for kept in decoder.extra["anthropic_content"]] == ["thinking"]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_the_whole_answer_in_pieces(name: str):
    """What a stream brings together is what the same answer in one piece would be, blocks to keep included."""
    out, decoder = decode(sse(*STREAMS[name]))
    said, whole = _joined(Assembler().feed(out)), decode_chat(_whole(STREAMS[name]))
    assert _joined(Assembler().feed(whole.events)) == said
    assert decoder.extra == whole.extra
    assert (decoder.model, decoder.id) == (whole.model, whole.id)


def _joined(handed: list[Event]) -> tuple[object, ...]:
    return (
        "".join(event.text for event in handed if isinstance(event, TextDelta)),
        "".join(event.text for event in handed if isinstance(event, ReasoningDelta)),
        [(call.id, call.name, json.loads(call.arguments)) for call in handed if isinstance(call, ToolCall)],
        [event for event in handed if isinstance(event, UsageEvent | Finish)],
    )


def _whole(wire: list[dict[str, Any]]) -> bytes:
    """The same answer, had it not been streamed; made without the code under test. What was cut is left out."""
    message = json.loads(json.dumps(wire[0]["message"]))
    pieces: dict[int, str] = {}
    for event in wire:
        delta, index = event.get("delta", {}), event.get("index", 0)
        match event["type"], delta.get("type"):
            case "content_block_start", _:
                message["content"].append(dict(event["content_block"]))
            case _, "text_delta":
                message["content"][index]["text"] += delta["text"]
            case _, "thinking_delta":
                message["content"][index]["thinking"] += delta["thinking"]
            case _, "signature_delta":
                message["content"][index]["signature"] = delta["signature"]
            case _, "citations_delta":
                message["content"][index].setdefault("citations", []).append(delta["citation"])
            case _, "input_json_delta":
                pieces[index] = pieces.get(index, "") + delta["partial_json"]
            case "content_block_stop", _ if pieces.get(index):
                message["content"][index]["input"] = json.loads(pieces.pop(index))
            case "message_delta", _:
                message |= delta
                message["usage"] |= event["usage"]
    cut = {index for index, piece in pieces.items() if piece}
    message["content"] = [block for place, block in enumerate(message["content"]) if place not in cut]
    return json.dumps(message).encode()


def test_kept_blocks_are_what_is_sent_back():
    """From the stream to the message to the next request, nothing is lost."""
    out, decoder = decode(sse(*STREAMS["thoughts"]))
    handed = Assembler().feed(out)
    calls = [event for event in handed if isinstance(event, ToolCall)]
    message = {
        "role": "assistant",
        "content": "Hm.",
        "tool_calls": [{"id": c.id, "function": {"name": c.name, "arguments": c.arguments}} for c in calls],
        **decoder.extra,
    }
    assert turns(*HI, message, *HI)[1]["content"] == decoder.extra["anthropic_content"]


# Endings ...


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        ("something_new", "something_new"),
    ],
)
def test_stop_reasons(reason: str, expected: str):
    """Why the model stopped, in OpenAI's words as far as there are any."""
    assert events(start(), *text_block(0, "Hi"), *ending(reason))[-1] == Finish(expected)


def test_a_stop_reason_is_enough():
    """A stream may end after it, without the marker; the usage of the head and of the end is told."""
    assert events(start(), *text_block(0, "Hi"), ending()[0])[-2:] == [LATER, Finish("stop")]


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ([], "ended without an answer"),
        ([start()], "ended without an answer"),
        ([start(), PING, STOP], "ended without an answer"),
        ([start(), *text_block(0, "Hi")], "broke off"),
        ([start(), *text_block(0, "Hi")[:-1]], "broke off"),
        ([start(), *text_block(0, "Hi"), *ending(None)], "broke off"),
        ([start(), *text_block(0, "Hi"), *ending("")], "broke off"),
    ],
)
def test_unfinished_streams(wire: list[dict[str, Any]], message: str):
    """Without a stop reason a stream was cut, after the events that came; the marker alone does not make it whole."""
    failure = failing(sse(*wire))[1]
    assert isinstance(failure, ModelResponseInvalidError)
    assert message in failure.message


def test_a_server_that_names_no_reasons():
    """A backend that ends its streams with the marker and never tells why has finished them."""
    assert events(*text_block(0, "Hi"), STOP) == [TextDelta("Hi"), Finish("stop")]
    out, _ = decode(sse(*text_block(0, "Hi")) + b"data: [DONE]\n\n")
    assert out[-1] == Finish("stop")


def test_figures_are_totals():
    """Later usage replaces earlier usage, and leaves what it does not name."""
    late = ending(input_tokens=11, cache_creation_input_tokens=0, output_tokens=21)
    assert events(start(), *text_block(0, "Hi"), *late)[-2] == UsageEvent(Usage(16, 21, 37, 5))


def test_a_server_that_tells_no_figures():
    """There is an answer all the same."""
    bare = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    assert events(start(usage=None), *text_block(0, "Hi"), bare, STOP) == [TextDelta("Hi"), Finish("stop")]


# Gateways ...


def test_a_repeated_head():
    """A second `message_start` in the middle changes nothing but the figures."""
    again = start(id="msg_2", model="other", usage={"output_tokens": 2})
    wire = [start(), start(), *text_block(0, "Hi"), again, *text_block(0, "!"), *ending()]
    out, decoder = decode(sse(*wire))
    assert out == [TextDelta("Hi"), TextDelta("!"), LATER, Finish("stop")]
    assert (decoder.model, decoder.id) == ("claude-x", "msg_1")


def test_missing_starts_and_stops():
    """Text without a block is text; an index that begins again is another block; the end ends what is open."""
    loose = {"type": "content_block_delta", "index": 4, "delta": {"type": "text_delta", "text": "Hi"}}
    calls = [*tool_block(0, "a", "f", stop=False), *tool_block(0, "b", "g", "{}", stop=False)]
    out = Assembler().feed(events(loose, *calls, *tool_block(3, "c", "h", stop=False), *ending("tool_use")))
    assert out[0] == TextDelta("Hi")
    assert [event for event in out if isinstance(event, ToolCall)] == [
        ToolCall(0, "a", "f", "{}"),
        ToolCall(1, "b", "g", "{}"),
        ToolCall(2, "c", "h", "{}"),
    ]


def test_events_without_names():
    """The payload's type is what counts; a gateway may leave the `event:` lines out, or write CRLF."""
    wire = sse(*STREAMS["tools"])
    bare = b"".join(line + b"\n" for line in wire.split(b"\n") if not line.startswith(b"event:"))
    expected = decode(wire)[0]
    assert decode(bare)[0] == decode(wire.replace(b"\n", b"\r\n"))[0] == expected


def test_what_is_not_known_is_skipped():
    """New events, deltas and blocks do not disturb."""
    odd = {"type": "content_block_delta", "index": 1, "delta": {"type": "new_delta", "text": 3, "x": {}}}
    wire = [
        start(),
        {"type": "new_event", "x": 1},
        *block(1, "new_block", x=1),
        odd,
        *text_block(2, "Hi"),
        *ending(),
    ]
    out, decoder = decode(sse(*wire) + b"event: ping\ndata: pong\n\n")
    assert out[-3:] == [TextDelta("Hi"), LATER, Finish("stop")]
    assert decoder.extra["anthropic_content"][0] == {"type": "new_block", "x": 1}


def test_lenient_types():
    """Numbers for strings and text for numbers are read all the same."""
    wire = [
        start(id=7, model=8, usage={"input_tokens": "10", "output_tokens": 1.0}),
        {"type": "content_block_start", "index": "0", "content_block": {"type": "text", "text": 4}},
        {"type": "content_block_delta", "index": "0", "delta": {"type": "text_delta", "text": 2}},
        *block(
            1, "tool_use", {"type": "input_json_delta", "partial_json": 3}, id=9, name="f", input='{"a":1}'
        ),
        {"type": "content_block_delta", "index": 2, "delta": None},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "text": 1},
            "usage": {"output_tokens": "2"},
        },
        STOP,
    ]
    out, decoder = decode(sse(*wire))
    assert out == [
        TextDelta("4"),
        TextDelta("2"),
        ToolCallDelta(0, "9", "f", ""),
        ToolCallDelta(0, "", "", "3"),
        UsageEvent(Usage(10, 2, 12)),
        Finish("stop"),
    ]
    assert (decoder.model, decoder.id) == ("8", "7")


@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf", b"\r\n "])
def test_plain_body_instead_of_a_stream(head: bytes):
    """A server that ignores `stream` is understood, blocks to keep included."""
    body = _whole(STREAMS["thoughts"])
    out, decoder = decode(head + body[:9], body[9:])
    assert (out, decoder.extra) == (decode_chat(body).events, decode_chat(body).extra)
    assert (decoder.model, decoder.id, decoder.finish_reason) == ("claude-x", "msg_1", "tool_calls")
    assert decode(body, legacy=True)[1].finish_reason == "function_call"


# Failures ...


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n', None),
        (b'data: {"type":"error","error":{"message":"m"}}\n\n', '{"type":"error","error":{"message":"m"}}'),
        (b'data: {"error":{"message":"m"}}\n\n', '{"error":{"message":"m"}}'),
        (b'data: {"type":"oh","error":"m"}\n\n', '{"type":"oh","error":"m"}'),
        (b'event: error\ndata: {"code":500,"message":"m","type":"server_error"}\n\n', None),
        (b"event: error\ndata: out of memory\n\n", "out of memory"),
        (b'{"error":"x"}\n', '{"error":"x"}'),
    ],
)
@pytest.mark.parametrize("before", [[], [start(), PING], [start(), *text_block(0, "a")]])
def test_errors_in_the_stream(before: list[Any], wire: bytes, body: str | None):
    """An error of the backend is a failure for the classifier, after the events before it, or with none."""
    body = wire.partition(b"data: ")[2].decode().strip() if body is None else body
    out, failure = failing(sse(*before) + wire)
    assert out == [TextDelta("a")][: len(before) // 3]
    assert isinstance(failure, BackendFailure)
    assert (failure.status, failure.headers, str(failure.body).strip()) == (200, {}, body)


@pytest.mark.parametrize(
    "data", [b"<html>oops", b'{"type": tru', b"[1]", b"null", b"\xff", b'{"a":' * 50_000]
)
def test_garbage_in_the_stream(data: bytes):
    """A line that is no JSON object is a failure whose message stays short, after the events before it."""
    out, failure = failing(sse(start(), *text_block(0, "a")) + b"data: " + data + b"\n\n", sse(*ending()))
    assert out == [TextDelta("a")]
    assert isinstance(failure, ModelResponseInvalidError)
    assert len(failure.message) < 120


def test_cut_by_the_end():
    """An event that the end of the bytes cuts is judged as what it is: a stream that broke off."""
    wire = sse(*STREAMS["text"])
    for end in range(len(wire) - 120):
        out, decoder = decode(wire[:end])
        assert isinstance(decoder.failure, ModelResponseInvalidError)
        assert (
            "ended without" in decoder.failure.message if not out else "broke off" in decoder.failure.message
        )


def test_too_long_event():
    """An event over the limit is a failure, after the events before it."""
    decoder = ChatStreamDecoder(max_event_bytes=500)
    assert decoder.feed(sse(*text_block(0, "a")) + b"data: " + b"x" * 600) == [TextDelta("a")]
    assert isinstance(decoder.failure, ModelResponseInvalidError)


EVENTS = st.sampled_from(
    [sse(event) for stream in STREAMS.values() for event in stream]
    + [
        b": ping\n\n", b"\xff", b"\r\n", b"{", b"data: {}\n\n", b"event: x\n\n", b"data: [1]\n\n", b"event: ",
        b'event: error\ndata: {"type":"error"}\n\n', sse({"type": "content_block_delta", "index": "1", "delta": 3}),
        sse({"type": "content_block_start", "content_block": {"type": "tool_use", "input": "\u2028\ud83d"}}),
        sse({"type": "content_block_delta", "index": 1, "delta": {"partial_json": '"\\ud83d"', "text": "\ud83d"}}),
        b'data: {"type":"content_block_start","content_block":{"type":"x"}}\n\n', *map(sse, ending("max_tokens")),
    ]
)  # fmt: skip


@given(
    st.lists(EVENTS | st.binary(max_size=6), max_size=14).map(b"".join),
    st.lists(st.integers(1, 90), max_size=30),
)
def test_any_bytes_any_split(wire: bytes, sizes: list[int]):
    """Nothing is ever raised, and the same bytes give the same events and the same failure however they are cut."""
    begin, reads = 0, []
    for size in [*sizes, len(wire)]:
        reads.append(wire[begin : begin + size])
        begin += size
    out, decoder = decode(*reads)
    expected, whole = decode(wire)
    assert (out, decoder.extra) == (expected, whole.extra)
    assert repr(decoder.failure) == repr(whole.failure)
    assert (decoder.failure is None) == bool(out and isinstance(out[-1], Finish))


@given(st.sampled_from(sorted(STREAMS)), st.integers(1, 40))
def test_any_split_of_sound_streams(name: str, size: int):
    """Real streams read the same in reads of any size."""
    wire = sse(*STREAMS[name])
    out, decoder = decode(*(wire[place : place + size] for place in range(0, len(wire), size)))
    expected, whole = decode(wire)
    assert (out, decoder.extra) == (expected, whole.extra)
