"""Streams that are told again: any pieces, any break, any reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.wire.replay import Delivered, Replay, StreamsDifferError, WholeEvents
from resilient_llm.wire.replay_anthropic import MessagesScript
from resilient_llm.wire.replay_openai import ChatScript
from resilient_llm.wire.replay_responses import ResponsesScript
from resilient_llm.wire.sse import MAX_EVENT_BYTES, SSEDecoder

Pieces = list[list[str]]
"""The pieces of each text: choice by choice, or block by block."""


def frame(body: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(body)}\n\n".encode()


def chunk(name: str, index: int, delta: Any, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **more}
    return frame({"id": name, "created": len(name), "choices": [choice], "usage": None})


def chat(name: str, pieces: Pieces) -> list[bytes]:
    """The choices take turns."""
    frames = []
    for turn in range(max(map(len, pieces)) + 2):
        for index, texts in enumerate(pieces):
            if turn == 0:
                frames.append(chunk(name, index, {"role": "assistant", "content": ""}))
            elif turn <= len(texts):
                frames.append(chunk(name, index, {"content": texts[turn - 1], "tool_calls": None}))
            elif turn == len(texts) + 1:
                frames.append(chunk(name, index, {}, "stop"))
    usage = {"id": name, "created": len(name), "choices": [], "usage": {"total_tokens": len(name)}}
    return [*frames, frame(usage), b"data: [DONE]\n\n"]


def messages(name: str, pieces: Pieces) -> list[bytes]:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": name, "content": [], "usage": {"input_tokens": 1}}},
        {"type": "ping"},
    ]
    for index, texts in enumerate(pieces):
        begun = {"type": "text", "text": ""}
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        deltas = [{"type": "text_delta", "text": text} for text in texts]
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}})
    events.append({"type": "message_stop"})
    return [frame(event, event["type"]) for event in events]


def responses(name: str, pieces: Pieces) -> list[bytes]:
    def response(**more: Any) -> dict[str, Any]:
        return {"response": {"id": name, **more}}

    events: list[tuple[str, dict[str, Any]]] = [("created", response()), ("in_progress", response())]
    items = []
    for index, texts in enumerate(pieces):
        place = {"output_index": index}
        identity = f"{name}-{index}"
        item = {"id": identity, "type": "message", "content": []}
        events.append(("output_item.added", {"item": item, **place}))
        place |= {"item_id": identity, "content_index": 0}
        whole = "".join(texts)
        part = {"type": "output_text", "text": "", "annotations": []}
        events.append(("content_part.added", {"part": part, **place}))
        events += [("output_text.delta", {"delta": text, "logprobs": [], **place}) for text in texts]
        events.append(("output_text.done", {"text": whole, **place}))
        events.append(("content_part.done", {"part": {**part, "text": whole}, **place}))
        items.append({**item, "content": [{**part, "text": whole}]})
        events.append(("output_item.done", {"item": items[-1], "output_index": index}))
    events.append(("completed", response(output=items)))
    return [
        frame({"type": f"response.{kind}", "sequence_number": number, **body}, f"response.{kind}")
        for number, (kind, body) in enumerate(events)
    ]


def bodies(data: bytes) -> list[Any]:
    return [
        json.loads(event.data)
        for event in SSEDecoder().feed(data)
        if event.name != "ping" and event.data != b"[DONE]"
    ]


def merged(data: bytes) -> list[Any]:
    """A stream with neighbouring pieces of one text put together: what its reader makes of it."""
    events: list[Any] = []
    places: dict[Any, dict[str, Any]] = {}
    for body in bodies(data):
        kind = body.pop("type", None)
        body.pop("sequence_number", None)
        if kind is None and body["choices"]:
            choice = body["choices"][0]
            key, text = (body["id"], body["created"], choice["index"]), choice["delta"].get("content")
            finish = choice["finish_reason"]
        else:
            key = (kind, body.get("item_id"), body.get("output_index"), body.get("index"))
            text = body.get("delta")
            text = text.get("text") if isinstance(text, dict) else text
            finish = None
        if text is not None and key in places:
            places[key]["text"] += text
        elif text is not None:
            places[key] = {"key": key, "text": text}
            events.append(places[key])
        else:
            events.append((key, finish, body if kind != "content_block_delta" else None))
    return events


DIALECTS: dict[str, tuple[Any, Any]] = {
    "chat": (chat, ChatScript),
    "messages": (messages, MessagesScript),
    "responses": (responses, ResponsesScript),
}

ENDS = {"chat": 2, "messages": 2, "responses": 1}
"""Events after which a break is none: the answer is complete."""


def replayed(dialect: str, first: list[bytes], again: bytes, reads: list[int]) -> tuple[bytes, bool]:
    """What the reader gets after a break, and whether the streams differ."""
    script = DIALECTS[dialect][1]()
    replay = Replay(Delivered(b"".join(first), script), script)
    out = b""
    try:
        at = 0
        for size in reads:
            out += b"".join(replay.feed(again[at : at + size]))
            at += size
        out += b"".join(replay.feed(again[at:]))
        return out + b"".join(replay.eof()), False
    except StreamsDifferError:
        return out, True


def texts_of(data: bytes) -> dict[Any, str]:
    """The text of each place, ids aside."""
    found: dict[Any, str] = {}
    for body in bodies(data):
        for holder in body.get("choices", [body]):
            text = holder.get("delta")
            text = (text.get("content") or text.get("text")) if isinstance(text, dict) else text
            place = (holder.get("index"), body.get("output_index"))
            if isinstance(text, str):
                found[place] = found.get(place, "") + text
    return found


letters = st.text(alphabet="ab\u00e9 \U0001f600\n", min_size=1, max_size=6)


@st.composite
def cut_up(draw: st.DrawFn, texts: list[str]) -> Pieces:
    cut: Pieces = []
    for text in texts:
        ends = sorted(draw(st.sets(st.integers(1, max(1, len(text))), max_size=3)) | {len(text)})
        cut.append([text[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if text[begin:end]])
    return cut


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=25)
@given(data=st.data())
def test_equal_texts_are_read_once(dialect, data):
    """Whatever the pieces, the break and the reads: the reader has what an unbroken stream says, with the first ids."""
    write = DIALECTS[dialect][0]
    texts = data.draw(st.lists(letters, min_size=1, max_size=3))
    first = write("first", data.draw(cut_up(texts)))
    again = b"".join(write("other", data.draw(cut_up(texts))))
    had = first[: data.draw(st.integers(1, len(first) - ENDS[dialect]))]
    out, differs = replayed(dialect, had, again, data.draw(st.lists(st.integers(1, 300), max_size=5)))
    assert not differs
    read = b"".join(had) + out
    for index in range(b"".join(had).count(b"event: response.output_item.added"), len(texts)):
        read = read.replace(
            b"other-%d" % index, b"first-%d" % index
        )  # items that are begun only now keep their ids
    events = merged(read)
    expected = merged(b"".join(first))
    for usage in [event for event in events if isinstance(event, tuple) and event[2].get("usage")]:
        usage[2]["usage"] = next(
            e[2]["usage"] for e in expected if isinstance(e, tuple) and e[2].get("usage")
        )
    key = repr
    assert sorted(events, key=key) == sorted(expected, key=key)
    numbers = [body["sequence_number"] for body in bodies(b"".join(had) + out) if "sequence_number" in body]
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=25)
@given(data=st.data())
def test_other_texts_never_reach_the_reader(dialect, data):
    """Whatever is told instead: the streams differ exactly if the reader has what the second does not begin with."""
    write = DIALECTS[dialect][0]
    short = st.lists(st.text(alphabet="ab", min_size=1, max_size=3), min_size=1, max_size=3)
    one, two = data.draw(short), data.draw(short)
    first = write("first", data.draw(cut_up(one)))
    again = b"".join(write("other", data.draw(cut_up(two))))
    had = first[: data.draw(st.integers(1, len(first) - ENDS[dialect]))]
    out, differs = replayed(dialect, had, again, data.draw(st.lists(st.integers(1, 300), max_size=9)))
    assert differs == (not begins_with(b"".join(had), again))
    before, after, told = texts_of(b"".join(had)), texts_of(b"".join(had) + out), texts_of(again)
    for place, text in after.items():
        assert text == before.get(place, "") or told.get(place, "").startswith(text)
    if not differs:
        assert after == told


def begins_with(had: bytes, again: bytes) -> bool:
    """Could the second stream go on from what was delivered of the first?"""
    told, texts = texts_of(again), texts_of(had)
    begun, ended = set(), set()
    for body in bodies(had):
        for holder in body.get("choices", [body]):
            place = (holder.get("index"), body.get("output_index"))
            if place != (None, None):
                begun.add(place)
            if holder.get("finish_reason") or str(body.get("type")).endswith(("_stop", ".done")):
                ended.add(place)
    return begun <= told.keys() and all(
        told[place] == text if place in ended else told[place].startswith(text)
        for place, text in texts.items()
    )


def one(delta: Any, finish: str | None = None, **more: Any) -> bytes:
    return chunk("other", 0, delta, finish, **more)


ROLE = chunk("first", 0, {"role": "assistant", "content": ""})
HI = chunk("first", 0, {"content": "Hi"})
START, PING, BLOCK, DELTA, STOP, *_ = messages("first", [["Hi"]])
CALL = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}
THINKING = {"type": "thinking", "thinking": ""}
SAYING = {"type": "text", "text": "Hi"}
FILTERED = frame({"id": "first", "choices": [], "prompt_filter_results": [{}]})


@pytest.mark.parametrize(
    ("dialect", "first", "again"),
    [
        ("chat", [HI], [one(CALL), one({"content": "Hi"})]),
        ("chat", [HI], [one({"reasoning_content": "hm"}), one({"content": "Hi"})]),
        ("chat", [HI], [one({"refusal": "Hi"})]),
        ("chat", [HI], [one({"content": "H"}, "stop")]),
        ("chat", [HI], [one({"content": "H"})]),
        ("chat", [HI], [one({"content": "H"}), b"data: [DONE]\n\n"]),
        ("chat", [HI, chunk("first", 0, {}, "stop")], [one({"content": "Hi"}, "length")]),
        ("chat", [HI, chunk("first", 0, {}, "stop")], [one({"content": "Hi there"})]),
        ("chat", [HI, chunk("first", 1, {"content": "b"})], [one({"content": "Hi"}, "stop")]),
        (
            "messages",
            [START, BLOCK, DELTA],
            [START, frame({"type": "content_block_start", "content_block": THINKING})],
        ),
        ("messages", [START, BLOCK], [START, frame({"type": "message_stop"})]),
        (
            "messages",
            [START, BLOCK],
            [START, frame({"type": "content_block_start", "content_block": SAYING})],
        ),
        ("messages", [START, BLOCK], [START, frame({"type": "message_delta", "delta": {}})]),
    ],
)
def test_other_streams_differ(dialect, first, again):
    """Another kind of content, another order, another end, or none: nothing that it says is handed on."""
    out, differs = replayed(dialect, first, b"".join(again), [])
    assert ("".join(texts_of(out).values()), b"tool_calls" in out, differs) == ("", False, True)


@pytest.mark.parametrize(
    ("dialect", "stream"),
    [
        ("chat", one(CALL)),
        ("chat", one({"reasoning": "hm"})),
        ("chat", one({"content": [{"type": "text", "text": "Hi"}]})),
        ("chat", one({"content": "Hi"}, logprobs={"content": [{"token": "Hi"}]})),
        ("messages", frame({"type": "content_block_start", "index": 0, "content_block": THINKING})),
        ("messages", frame({"type": "content_block_start", "content_block": {"type": "text", "text": "Hi"}})),
        (
            "messages",
            frame({"type": "content_block_delta", "delta": {"type": "citations_delta", "text": "Hi"}}),
        ),
        ("responses", frame({"type": "response.output_item.added", "item": {"type": "function_call"}})),
        (
            "responses",
            frame({"type": "response.output_item.done", "item": {"type": "reasoning", "summary": [1]}}),
        ),
        ("responses", frame({"type": "response.output_text.annotation.added"})),
        ("responses", frame({"type": "response.output_text.delta", "delta": "Hi", "logprobs": [{}]})),
        ("responses", frame({"type": "response.output_text.delta", "delta": ["Hi"]})),
        ("responses", frame({"type": "response.content_part.done", "part": {"type": "reasoning_text"}})),
        ("responses", b"data: Hi\n\n"),
    ],
)
def test_more_than_text_is_told_apart(dialect, stream):
    """Whatever a reader may have made something of."""
    script = DIALECTS[dialect][1]()
    assert not Delivered(stream, script).text_alone


def test_that_a_model_thought_is_no_more_than_a_mark():
    """An item of reasoning without a word in it does not stand in the way of the text behind it."""
    item = {"id": "r", "type": "reasoning", "summary": []}
    stream = b"".join(
        frame({"type": f"response.output_item.{kind}", "output_index": 0, "item": item})
        for kind in ("added", "done")
    )
    assert Delivered(stream, ResponsesScript()).text_alone


def test_what_comes_after_the_text_is_handed_on_as_it_is():
    """A tool call behind the text, fields that nobody knows, and the end marker."""
    again = [one({"role": "assistant", "content": "Hi you", "x": None}, y=1), one(CALL), b"data: [DONE]\n\n"]
    out, differs = replayed("chat", [ROLE, HI], b"".join(again), [])
    assert not differs
    first, second = bodies(out)
    assert first["choices"] == [
        {"index": 0, "delta": {"content": " you", "x": None}, "logprobs": None, "finish_reason": None, "y": 1}
    ]
    assert second["choices"][0]["delta"] == CALL
    assert out.endswith(b"data: [DONE]\n\n")


def test_a_repeated_preamble_is_dropped():
    """Chunks without choices, pings and comments before the text are those that the reader has."""
    again = [FILTERED, b": ping\n\n", ROLE, one({"content": "Hi"}), FILTERED]
    out, differs = replayed("chat", [FILTERED, ROLE, HI], b"".join(again), [])
    assert (len(bodies(out)), differs) == (1, False)


def test_pings_without_a_name_are_pings():
    """They stand in nobody's way, before a break and after it."""
    ping = frame({"type": "ping"})
    out, differs = replayed(
        "messages", [START, ping, BLOCK, DELTA], b"".join([START, BLOCK, ping, DELTA, STOP]), []
    )
    assert (out.count(b"content_block_stop"), out.count(b"ping"), differs) == (2, 0, False)


def test_events_that_are_not_numbered_stay_so():
    """A server that leaves the numbers out gets none from us."""
    said = {"type": "response.output_text.delta", "output_index": 0, "item_id": "i"}
    first = frame({**said, "delta": "Hi", "sequence_number": 4})
    out, differs = replayed("responses", [first], frame({**said, "delta": "Hi you"}), [])
    assert (bodies(out), differs) == ([{**said, "delta": " you"}], False)


def test_an_event_without_end_is_refused():
    """A second stream cannot fill the memory."""
    script = ChatScript()
    replay = Replay(Delivered(HI, script), script)
    with pytest.raises(ModelResponseInvalidError, match="longer than"):
        replay.feed(b"data: " + bytes(MAX_EVENT_BYTES))


@given(st.lists(st.sampled_from([b"data: a", b"event: b", b":", b""]), max_size=12), st.data())
def test_events_are_handed_on_whole(lines, data):
    """Whatever the line ends and the reads: what was handed on holds the events that came, and no part of another."""
    end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    stream = b"".join(line + end for line in lines) + data.draw(st.sampled_from([b"", b"data: c"]))
    events, handed, at = WholeEvents(), b"", 0
    for size in [*data.draw(st.lists(st.integers(1, 9), max_size=9)), len(stream)]:
        handed += events.feed(stream[at : at + size])
        at += size
        assert stream.startswith(handed)
        assert not SSEDecoder().feed(handed)[len(SSEDecoder().feed(stream[:at])) :]
        lost = SSEDecoder().feed(stream[:at])[len(SSEDecoder().feed(handed)) :]
        assert not lost or (end == b"\r\n" and stream[:at].endswith(b"\r"))
        assert not handed or handed.endswith((end + end, b"\r\n\r"))
    assert handed + events.eof() == stream
