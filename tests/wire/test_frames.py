"""AWS's binary event stream: any split of the bytes, and bytes that no sound server sends."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from itertools import pairwise

import pytest
from bedrock import chunk, exception, frame, message
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.policy.classify_exception import classify_exception
from resilient_llm.wire.bedrock_stream import ChatStreamDecoder
from resilient_llm.wire.frames import Frame, FrameDecoder

names = st.text("abc:-", min_size=1, max_size=9)
frames = st.builds(
    Frame, st.dictionaries(names, st.text("aé€", max_size=9), max_size=3), st.binary(max_size=40)
)


def decode(*reads: bytes, limit: int = 1 << 16) -> tuple[list[Frame], FrameDecoder]:
    decoder = FrameDecoder(max_frame_bytes=limit)
    return [found for read in reads for found in decoder.feed(read)], decoder


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


def raw_frame(head: bytes, payload: bytes = b"") -> bytes:
    """A frame whose checksums hold, whatever its headers are."""
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return body + struct.pack(">I", zlib.crc32(body))


def read(*reads: bytes) -> tuple[list[str], ChatStreamDecoder]:
    decoder = ChatStreamDecoder()
    events = [event for data in reads for event in decoder.feed(data)]
    return [type(event).__name__ for event in [*events, *decoder.eof()]], decoder


@settings(max_examples=50, deadline=None)
@given(st.lists(frames, max_size=4), st.lists(st.integers(0, 400), max_size=6))
def test_frames_come_back_whatever_the_split(sent: list[Frame], cuts: list[int]):
    """What was put into frames comes out of them, and no byte is kept."""
    data = b"".join(frame(one.headers, one.payload) for one in sent)
    found, decoder = decode(*split(data, cuts))
    assert found == sent
    assert decoder.failure is None
    assert decoder.missing == 12


@settings(max_examples=50, deadline=None)
@given(st.lists(frames, min_size=1, max_size=3), st.data())
def test_a_changed_byte_never_passes(sent: list[Frame], data: st.DataObject):
    """Wherever it is: the frames before it come, it and all after it do not."""
    wires = [frame(one.headers, one.payload) for one in sent]
    wire = bytearray(b"".join(wires))
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] ^= data.draw(st.integers(1, 255))
    whole = 0
    while sum(map(len, wires[: whole + 1])) <= place:
        whole += 1
    for reads in ([bytes(wire)], split(bytes(wire), list(range(0, len(wire), 7)))):
        found, decoder = decode(*reads)
        assert found == sent[:whole]
        assert isinstance(decoder.failure, ModelResponseInvalidError)
        assert decoder.feed(wires[0]) == []


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_noise_is_never_more_than_a_failure(noise: bytes, cuts: list[int]):
    """Whatever comes, in any split: the same frames, and the same verdict."""
    found, decoder = decode(noise)
    again, twin = decode(*split(noise, cuts))
    assert (found, str(decoder.failure)) == (again, str(twin.failure))


@pytest.mark.parametrize(
    ("size", "headers"), [(15, 0), (16, 1), (1 << 20, 0), (2**32 - 1, 0), (200_000, 131_073)]
)
def test_lengths_are_judged_before_anything_is_kept(size: int, headers: int):
    """A prelude that promises too much, or less than a frame has, ends the stream by itself."""
    prelude = struct.pack(">II", size, headers)
    _, decoder = decode(prelude + struct.pack(">I", zlib.crc32(prelude)), limit=300_000)
    assert decoder.failure is not None
    assert decoder.missing <= 1 << 20


def test_the_longest_frame_may_come():
    """The limit is that of a whole frame, its own parts included."""
    wire = frame({"a": "b"}, b"x" * 50)
    assert len(decode(wire, limit=len(wire))[0]) == 1
    assert decode(wire, limit=len(wire) - 1)[1].failure is not None


def test_headers_of_all_types_are_read_over():
    """Only strings are kept; what follows them is read all the same."""
    values = [b"\x00", b"\x01", b"\x02!", b"\x03!!", b"\x04!!!!", b"\x05!!!!!!!!", b"\x06\x00\x02!!"]
    values += [b"\x08!!!!!!!!", b"\x09" + b"!" * 16, b"\x07\x00\x03end"]
    head = b"".join(bytes([2, 97, 97 + place]) + value for place, value in enumerate(values))
    found, _ = decode(raw_frame(head, b"body"))
    assert found == [Frame({"aj": "end"}, b"body")]


@pytest.mark.parametrize(
    "head",
    [b"\x01", b"\x01a", b"\x01a\x0a", b"\x01a\x07\x00\x05abc", b"\x01a\x07\x00", b"\x01a\x07\x00\x01\xff"],
)
def test_headers_that_cannot_be_read_are_a_failure(head: bytes):
    """Cut, of unknown types, no text."""
    assert decode(raw_frame(head, b"x"))[1].failure is not None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2_000), max_size=8))
def test_a_message_reads_the_same_whatever_the_split(cuts: list[int]):
    """The events of a message, and what is known of it."""
    wire = b"".join(message("One", " two"))
    names, decoder = read(*split(wire, cuts))
    assert names == ["TextDelta", "TextDelta", "UsageEvent", "Finish"]
    assert (decoder.done, decoder.failure, decoder.model, decoder.finish_reason) == (
        True,
        None,
        "claude",
        "stop",
    )


@pytest.mark.parametrize("keep", range(7))
def test_a_stream_that_ends_early_is_no_answer(keep: int):
    """Before its finish reason; a frame that the end cut changes nothing about that, and behind it nothing either."""
    frames = message("One", " two")
    for tail in (b"", frames[keep][:-1]):
        _, decoder = read(*frames[:keep], tail)
        assert (decoder.failure is None) == (keep == 6)


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (exception("throttlingException", message="Too many tokens, please wait."), "MODEL_RATE_LIMITED"),
        (exception("serviceUnavailableException", message="busy"), "MODEL_OVERLOADED"),
        (exception("internalServerException", message="boom"), "MODEL_UNAVAILABLE"),
        (exception("modelStreamErrorException", originalStatusCode=500, message="x"), "MODEL_UNAVAILABLE"),
        (exception("modelTimeoutException", message="too long"), "MODEL_TIMEOUT"),
        (exception("validationException", message="no such field"), "MODEL_INVALID_REQUEST"),
        (
            frame({":message-type": "exception", ":exception-type": "throttlingException"}, b""),
            "MODEL_RATE_LIMITED",
        ),
        (
            frame(
                {":message-type": "error", ":error-code": "ThrottlingException", ":error-message": "slow"},
                b"",
            ),
            "MODEL_RATE_LIMITED",
        ),
    ],
)
def test_exceptions_of_a_stream_are_classified(wire: bytes, code: str):
    """By the type that the frame names, before content and after it."""
    for before in ([], message("One")[:3]):
        _, decoder = read(*before, wire, b"never looked at")
        failure = decoder.failure
        assert isinstance(failure, BackendFailure)
        assert classify_exception(failure).code == code


@pytest.mark.parametrize(
    "payload",
    [
        b"no json",
        b"[]",
        b"{}",
        b'{"bytes": 3}',
        b'{"bytes": "###"}',
        json.dumps({"bytes": "e30="[:-1]}).encode(),
    ],
)
def test_a_chunk_without_bytes_is_damaged(payload: bytes):
    """What should be an event and is none."""
    decoder = ChatStreamDecoder()
    decoder.feed(frame({":event-type": "chunk", ":message-type": "event"}, payload))
    assert isinstance(decoder.failure, ModelResponseInvalidError)


def test_frames_of_other_kinds_are_passed_over():
    """An initial response, and events that this dialect does not have."""
    other = frame({":event-type": "initial-response", ":message-type": "event"}, b"{}")
    names, decoder = read(other, *message("One"), other)
    assert names[0] == "TextDelta"
    assert decoder.failure is None


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2_000))
def test_what_came_before_the_break_is_told_in_bytes(cut: int):
    """`sound` is the place, in the last read, of the end of the last frame that said something sound."""
    good, bad = b"".join(message("One")[:3]), exception("internalServerException", message="x")
    cut = min(cut, len(good))
    decoder = ChatStreamDecoder()
    decoder.feed(good[:cut])
    decoder.feed(good[cut:] + bad + good)
    assert decoder.failure is not None
    sound = decoder.sound
    assert len(good) - cut <= sound < len(good) - cut + len(bad)


def test_no_answer_is_quoted_by_a_failure():
    """What was damaged may hold an answer."""
    secret = base64.b64encode(b'{"type": "secret words"').decode()
    wire = frame({":event-type": "chunk"}, json.dumps({"bytes": secret}).encode())
    _, decoder = read(wire)
    assert decoder.failure is not None
    assert "secret" not in str(decoder.failure)


def test_an_event_after_the_last_one_is_ignored():
    """The message is complete: nothing behind it can break it."""
    _, decoder = read(*message("One"), chunk({"type": "error", "error": {"message": "late"}}), b"noise")
    assert (decoder.done, decoder.failure) == (True, None)
