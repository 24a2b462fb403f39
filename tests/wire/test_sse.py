"""The rules of event streams, over any split of the bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.wire.sse import ServerSentEvent, SSEDecoder


def decode(*reads: bytes, limit: int = 1 << 20) -> list[ServerSentEvent]:
    decoder = SSEDecoder(max_event_bytes=limit)
    return [event for read in reads for event in decoder.feed(read)]


def singly(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def texts(events: list[ServerSentEvent]) -> list[bytes]:
    return [event.data for event in events]


VECTORS: list[tuple[bytes, list[bytes]]] = [
    (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    (b"data: a\r\n\r\n", [b"a"]),
    (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    (b"data: a\n\r\ndata: b\r\n\n", [b"a", b"b"]),
    (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    (b"data: one\ndata: two\n\n", [b"one\ntwo"]),
    (b'data:{"x":1}\n\n', [b'{"x":1}']),
    (b"data:  x\n\n", [b" x"]),
    (b"data\n\n", [b""]),
    (b"data\ndata\n\n", [b"\n"]),
    (b": ping\n\n", []),
    (b"data: a\n: ping\ndata: b\n\n", [b"a\nb"]),
    (b"event: x\n\n", []),
    ('data: {"t":"é"}\n\n'.encode(), ['{"t":"é"}'.encode()]),
    ('data: {"t":"a\u2028b\x85"}\n\n'.encode(), ['{"t":"a\u2028b\x85"}'.encode()]),
    (b'data: {"a":\n\ndata: {"b":1}\n\n\n\ndata: c\n\n', [b'{"a":', b'{"b":1}', b"c"]),
    (b"data: a\nunknown: b\n\n", [b"a"]),
    (b"data: unended\n", []),
    (b"event: x\ndata: a\n\nevent: y\ndata: b\n\ndata: c\n\n", [b"a", b"b", b"c"]),
    (b"event: x\ndata: a\ndata: b\n\nevent: y\n\n", [b"a\nb"]),
    (b"event: x\n\nevent: y\ndata: a\ndata: b\n\n", [b"a\nb"]),
    (b"event: x\nid: 1\ndata: a\n\n", [b"a"]),
    (b"event: x\ndata: a\n\nevent: y\n: ping\n\n", [b"a"]),
]


@pytest.mark.parametrize(("wire", "expected"), VECTORS)
def test_vectors_whole_and_byte_by_byte(wire: bytes, expected: list[bytes]):
    """Each vector gives the same events whole, byte by byte and cut in two anywhere."""
    assert texts(decode(wire)) == expected
    assert texts(decode(*singly(wire))) == expected
    for cut in range(len(wire)):
        assert texts(decode(wire[:cut], wire[cut:])) == expected


def test_event_name_belongs_to_one_event():
    """An event's name holds for that event, and is reset by an event without data."""
    events = decode(b"event: ping\ndata: 1\n\ndata: 2\n\nevent: lost\n\ndata: 3\n\n")
    assert [event.name for event in events] == ["ping", "", ""]
    events = decode(b"event: a\ndata: 1\n\nevent: \xff\ndata: 2\n\nevent: c\nid: 1\ndata: 3\n\n")
    assert [event.name for event in events] == ["a", "\ufffd", "c"]


def test_field_named_error_is_an_error_event():
    """The `error:` field of old llama.cpp is an event named error, even without a blank line."""
    assert decode(b'error: {"code":500}\n') == [ServerSentEvent(b'{"code":500}', "error")]


def test_bare_json_line_is_an_error_event():
    """A JSON line without a field name is an event named error."""
    assert decode(b'{"error":"gone"}\n') == [ServerSentEvent(b'{"error":"gone"}', "error")]


def test_fields_for_readers_that_connect_again_are_no_events():
    """Neither an id nor a retry, whatever they hold."""
    noise = b"id: 7\nretry: 250\nid: 8\x00\nretry: " + b"9" * 5000 + b"\nretry:\n"
    assert texts(decode(noise + b"\n" + noise + b"data: 1\n" + noise + b"\n")) == [b"1"]


def test_second_mark_is_data():
    """Only the mark at the very start is dropped."""
    assert texts(decode(b"\xef\xbb", b"\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n")) == [b"b"]


def test_almost_a_mark_is_data():
    """Bytes that begin like a mark but are none are kept."""
    assert texts(decode(b"\xef", b"data: a\n\ndata: b\n\n")) == [b"b"]


@pytest.mark.parametrize("wire", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r"])
def test_open_event_is_given_out_at_the_end(wire: bytes):
    """An event that the end of the stream leaves open is given out and marked."""
    decoder = SSEDecoder()
    assert decoder.feed(wire) == []
    assert decoder.eof() == [ServerSentEvent(b"[DONE]", complete=False)]
    assert decoder.eof() == []


def test_an_end_between_events_leaves_nothing():
    """A stream that ends after a blank line has no open event."""
    decoder = SSEDecoder()
    decoder.feed(b"data: a\n\n")
    assert decoder.eof() == []


@pytest.mark.parametrize(
    "wire", [b"data: " + b"x" * 100, b"data: " + b"x" * 100 + b"\n\n", b"data: 0123456\n" * 9, b":" * 101]
)
def test_too_long_event_fails(wire: bytes):
    """A line or an event over the limit sets the failure, however it is cut; nothing is decoded after it."""
    for reads in ([wire], singly(wire)):
        decoder = SSEDecoder(max_event_bytes=64)
        events = [event for read in [b"data: a\n\n", *reads] for event in decoder.feed(read)]
        assert texts(events) == [b"a"]
        assert isinstance(decoder.failure, ModelResponseInvalidError)
        assert decoder.feed(b"data: b\n\n") == []
        assert decoder.eof() == []


def test_events_before_a_too_long_one_are_kept():
    """What came before an oversized event in the same read is not lost."""
    decoder = SSEDecoder(max_event_bytes=64)
    assert texts(decoder.feed(b"data: a\n\ndata: b\n\ndata: " + b"x" * 99 + b"\n\ndata: c\n\n")) == [
        b"a",
        b"b",
    ]
    assert decoder.failure is not None


def test_limit_is_inclusive():
    """An event of exactly the limit passes, cut or not."""
    wire = b"data: " + b"x" * 58 + b"\n\n"
    assert texts(decode(wire, limit=64)) == [b"x" * 58]
    assert texts(decode(*singly(wire), limit=64)) == [b"x" * 58]
    several = b"data:01234567890123456789\n" * 3 + b"\n"
    assert len(decode(several, limit=62)[0].data) == 62


def reference(data: bytes) -> tuple[list[ServerSentEvent], list[ServerSentEvent]]:
    """A decoder so plain that it can be checked by eye."""
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    *lines, rest = data.split(b"\n")
    events: list[ServerSentEvent] = []
    values: list[bytes] = []
    name = ""
    ended = 0
    for number, line in enumerate([*lines, rest, b""]):
        if number == len(lines):
            ended = len(events)
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if not line:
            if values and number != len(lines):
                events.append(ServerSentEvent(b"\n".join(values), name))
            if number != len(lines):
                values, name = [], ""
        elif field == b"data":
            values.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"error":
            events.append(ServerSentEvent(value, "error"))
        elif line[:1] == b"{":
            events.append(ServerSentEvent(line, "error"))
    return events[:ended], [ServerSentEvent(e.data, e.name, complete=False) for e in events[ended:]]


PIECES = st.sampled_from([
    b"data: ", b"data:", b"data", b"event: e", b"error: x", b'{"a":1}', b": c", b"\n", b"\n\n", b"\r", b"\r\n",
    b"x", b" ", b"\xef\xbb\xbf", b"\xff", b'data: {"t":1}\n\n', b"id: 1\n",
])  # fmt: skip
STREAMS = st.lists(PIECES | st.binary(max_size=4), max_size=25).map(b"".join)


@given(STREAMS, st.lists(st.integers(1, 12), max_size=40))
@example(b"data: a\n\ndata: b\n\n\ndata: c\n\n", [])
@example(b"data: a\n\ndata: b\n\ndata: c\n\ndata: d", [20])
def test_any_stream_any_split_agrees_with_the_reference(data: bytes, sizes: list[int]):
    """Fast path, general path and a plain decoder agree over any bytes and any split."""
    decoder = SSEDecoder()
    events: list[ServerSentEvent] = []
    start = 0
    for size in [*sizes, len(data)]:
        events += decoder.feed(data[start : start + size])
        start += size
    assert (events, decoder.eof()) == reference(data)
    assert decoder.failure is None


def test_endless_line_costs_linear_time():
    """A line that comes in many reads is not scanned again for each."""
    decoder = SSEDecoder()
    reads = 0
    while decoder.failure is None:
        decoder.feed(b"x" * 64)
        reads += 1
    assert reads == 16 * 1024 * 1024 // 64 + 1
