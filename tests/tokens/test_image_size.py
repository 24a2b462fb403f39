"""Sizes of images from the heads of their files."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens.pictures import data_url, gif, jpeg, png, webp, webp_lossless, webp_lossy

from resilient_llm.tokens.image_size import image_size

FORMATS = [png, gif, jpeg, webp, webp_lossless, webp_lossy]


@pytest.mark.parametrize("form", [bytes, bytearray, lambda file: base64.b64encode(file).decode(), data_url])
@pytest.mark.parametrize("file", FORMATS, ids=lambda file: file.__name__)
@given(width=st.integers(1, 16_000), height=st.integers(1, 16_000))
@settings(max_examples=15, deadline=None)
def test_the_size_is_read_from_the_head(file, form, width, height):
    """Four formats, six kinds of heads; as bytes, as base64 text, as a data URL."""
    assert image_size(form(file(width, height))) == (width, height)


@pytest.mark.parametrize("metadata", range(2, 60, 2))
def test_a_frame_is_found_at_any_place(metadata):
    """Base64 holds three bytes in four characters: the place of a segment is rarely at such a border."""
    assert image_size(data_url(jpeg(640, 480, metadata=metadata))) == (640, 480)


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        "",
        b"",
        "https://example.com/cat.png",
        "data:image/png,plain",
        "data:image/svg+xml;base64,PHN2Zy8+",
        "%%%%",
        "äöü" * 20,
        "A",
        png(0, 10),
        png(10, 10)[:20],
        gif(5, 5)[:7],
        webp(5, 5)[:28],
        webp_lossless(5, 5).replace(b"\x2f", b"\x00"),
        webp_lossy(5, 5).replace(b"\x9d", b"\x00"),
        b"RIFF\x00\x00\x00\x00WEBPVP9 " + bytes(40),
        b"\xff\xd8",
        b"\xff\xd8\x00\x00",
        b"\xff\xd8" + b"\xff" * 100,
        b"\xff\xd8\xff\xe1\x00\x01",
        b"\xff\xd8" + b"\xff\xd0" * 2_000,
    ],
    ids=lambda data: repr(data)[:30],
)
def test_what_is_no_image_has_no_size(data):
    """Other formats, URLs, damaged and hostile files: None, never an error."""
    assert image_size(data) is None


@given(st.binary(max_size=200), st.sampled_from(FORMATS), st.integers(0, 200))
def test_no_bytes_raise(noise, file, place):
    """Whatever the head says, the answer is a size or None."""
    head = file(300, 200)
    for data in (noise, head[:place] + noise + head[place:]):
        size = image_size(data)
        assert size is None or min(size) > 0
        assert image_size(base64.b64encode(data).decode()) == size


def test_the_data_itself_is_not_decoded():
    """A picture of many megabytes costs no more than its head: damage behind that goes unseen."""
    assert image_size(data_url(png(30, 20)) + "%" * 100) == (30, 20)
