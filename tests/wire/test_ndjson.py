"""Lines of JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.wire.ndjson import NDJSONDecoder


def decode(*reads: bytes, limit: int = 1 << 20) -> list[bytes]:
    decoder = NDJSONDecoder(max_line_bytes=limit)
    lines = [line for read in reads for line in decoder.feed(read)]
    assert decoder.failure is None
    return lines + decoder.eof()


@pytest.mark.parametrize(
    ("reads", "lines"),
    [
        ([b'{"a":1}\n{"b":2}\n'], [b'{"a":1}', b'{"b":2}']),
        ([b'{"a":1}\r\n\r\n\n  \n{"b":2}'], [b'{"a":1}', b'{"b":2}']),
        ([b'\xef\xbb\xbf{"a":1}\n'], [b'{"a":1}']),
        ([b"\xef", b"\xbb", b'\xbf{"a":1}'], [b'{"a":1}']),
        ([b'{"a":"\xe2', b'\x80\xa8"}\n'], [b'{"a":"\xe2\x80\xa8"}']),
        ([], []),
        ([b"\n"], []),
    ],
    ids=["two", "CRLF, blank, no end", "mark", "mark in pieces", "cut character", "nothing", "blank"],
)
def test_lines(reads: list[bytes], lines: list[bytes]):
    """LF ends a line, CR and blank lines are dropped, a last line needs no end."""
    assert decode(*reads) == lines


@given(
    st.lists(
        st.sampled_from([b"\n", b"\r\n", b"{}", b"\r", b" ", b'{"a":1}', b"\xef\xbb\xbf"])
        | st.binary(max_size=4)
    ).map(b"".join),
    st.lists(st.integers(1, 9), max_size=40),
)
def test_any_split_agrees_with_the_whole(data: bytes, sizes: list[int]):
    """However the bytes are cut, the lines are those that splitting all of them gives."""
    start, reads = 0, []
    for size in [*sizes, len(data)]:
        reads.append(data[start : start + size])
        start += size
    expected = [line.strip(b" \t\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    assert decode(*reads) == [line for line in expected if line]


def test_a_long_line_is_a_failure_after_the_lines_before_it():
    """Nothing that came in time is lost, nothing more is decoded or kept."""
    for long in (b"x" * 11, b"x" * 11 + b"\nc"):
        decoder = NDJSONDecoder(max_line_bytes=10)
        assert decoder.feed(b"a\n" + long) == [b"a"]
        assert isinstance(decoder.failure, ModelResponseInvalidError)
        assert decoder.feed(b"b\n") == decoder.eof() == []
        assert not decoder._tail


def test_a_long_line_in_small_reads_is_noticed():
    """The limit holds for what is kept between reads."""
    decoder = NDJSONDecoder(max_line_bytes=10)
    for _ in range(3):
        decoder.feed(b"xxxx")
    assert decoder.failure is not None
    assert decode(b"xxxxx", b"xxxxx", b"\n", limit=10) == [b"x" * 10]
