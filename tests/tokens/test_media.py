"""What images, documents and audio cost inside messages."""

from __future__ import annotations

import base64

import pytest
from tokens.pictures import data_url, jpeg, png

from resilient_llm.tokens import ChatCounter, TokenTracker
from resilient_llm.tokens.image_rules import Constant, Tiles
from resilient_llm.tokens.media import (
    PAGE_TEXT,
    UNKNOWN_AUDIO,
    UNKNOWN_PAGES,
    Media,
    pdf_pages,
)

GPT_4O = Media(Tiles(85, 170))
PAGE = PAGE_TEXT + 1000
MEDIA = Media(Constant(1000))
SQUARE = data_url(png(1024, 1024))
BARE = SQUARE.partition(",")[2]


def pdf(pages: int, *, tree: bytes = b"") -> str:
    leaves = b"".join(b"%d 0 obj <</Type /Page /Parent 1 0 R>> endobj\n" % number for number in range(pages))
    return data_url(b"%PDF-1.7\n1 0 obj <</Type/Pages " + tree + b">> endobj\n" + leaves, "application/pdf")


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "image_url", "image_url": {"url": SQUARE, "detail": "high"}}, 765),
        ({"type": "image_url", "image_url": {"url": SQUARE}}, 765),
        ({"type": "image_url", "image_url": {"url": SQUARE, "detail": "low"}}, 85),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, 1445),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}, 85),
        ({"type": "input_image", "image_url": SQUARE, "detail": "low"}, 85),
        ({"type": "input_image", "image_url": data_url(jpeg(2048, 4096))}, 1105),
        ({"type": "input_image", "file_id": "file-1"}, 1445),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BARE}}, 765),
        ({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}, 1445),
        ({"type": "image", "source": {"type": "file", "file_id": "file-1"}}, 1445),
        ({"type": "image_url", "image_url": {"url": 7, "detail": 7}}, 1445),
        ({"type": "image_url"}, 1445),
    ],
)
def test_an_image_costs_what_its_size_and_detail_do(part, tokens):
    """In OpenAI's two shapes and in Anthropic's; what cannot be seen costs the most that an image can."""
    assert GPT_4O.part(part) == tokens


def test_the_images_of_ollama_are_read_too():
    """Base64 text without a data URL around it."""
    message = {"role": "user", "content": "", "images": [BARE, BARE]}
    bare = {"role": "user", "content": ""}
    counter = ChatCounter("gpt-4o")
    assert counter.message(message) - counter.message(bare) == 2 * 765


@pytest.mark.parametrize(
    ("part", "pages"),
    [
        ({"type": "file", "file": {"file_data": pdf(3), "filename": "a.pdf"}}, 3),
        ({"type": "input_file", "file_data": pdf(3)}, 3),
        ({"type": "document", "source": {"type": "base64", "data": pdf(3).partition(",")[2]}}, 3),
        ({"type": "file", "file": {"file_id": "file-1"}}, UNKNOWN_PAGES),
        ({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}, UNKNOWN_PAGES),
        ({"type": "document", "source": "a"}, UNKNOWN_PAGES),
        ({"type": "file"}, UNKNOWN_PAGES),
    ],
)
def test_a_document_costs_its_pages(part, pages):
    """Each its text and its picture; a document that is only named counts as one of five."""
    assert MEDIA.part(part) == pages * PAGE
    assert MEDIA.part(part) == pages * PAGE  # the second time from memory


@pytest.mark.parametrize(
    ("data", "pages"),
    [
        (pdf(7), 7),
        (pdf(0, tree=b"/Kids [1 0 R] /Count 12"), 12),
        (pdf(2, tree=b"/Count 12"), 12),
        (data_url(b"%PDF-1.5 <</Linearized 1/L 9/H[1 2]/O 4/E 7/N 9/T 3>>"), 9),
        (data_url(b"%PDF-1.5 nothing to be seen"), UNKNOWN_PAGES),
        ("not base64 at all %", UNKNOWN_PAGES),
        ("data:,ä", UNKNOWN_PAGES),
    ],
)
def test_pages_are_counted_or_read_from_a_total(data, pages):
    """Newer files compress the list of their pages, but often name its length."""
    assert pdf_pages(data) == pages


def test_what_was_counted_in_files_is_forgotten_in_time():
    """Many files do not fill the memory: neither they nor their counts are kept for ever."""
    for number in range(600):
        assert MEDIA.part({"type": "file", "file": {"file_data": pdf(1) + "=" * number}}) == PAGE
    assert len(MEDIA._pages) <= 256


def audio(data: bytes, kind: str) -> dict:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": kind}}


def test_audio_costs_its_seconds():
    """Ten tokens each: from the byte rate of a WAV file, by the slowest usual one of others."""
    wav = b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(12) + (32_000).to_bytes(4, "little") + bytes(32_000 * 60)
    assert MEDIA.part(audio(wav, "wav")) == pytest.approx(600, abs=1)
    assert MEDIA.part(audio(bytes(4_000 * 60), "mp3")) == pytest.approx(600, abs=1)
    assert MEDIA.part(audio(b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(40_000), "wav")) < 1_000


@pytest.mark.parametrize("audio", [None, "a", {"id": "audio_1"}, {"data": 7}])
def test_audio_that_is_not_here_counts_as_a_minute(audio):
    """An id says nothing about the length."""
    assert MEDIA.part({"type": "input_audio", "input_audio": audio}) == UNKNOWN_AUDIO


def test_other_parts_cost_an_image():
    """What is not known yet costs as much as an image of unknown size, however long its data is."""
    assert MEDIA.part({"type": "video", "data": "A" * 10_000}) == 1000


def test_the_rule_is_the_model_s_unless_a_constant_is_given():
    """`image_tokens` overrides the published rule."""
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": SQUARE}}]}
    empty = {"role": "user", "content": []}

    def cost(**options):
        tracker = TokenTracker(**options)
        return tracker.count_message_tokens(message) - tracker.count_message_tokens(empty)

    assert cost(model="gpt-4o") == 765
    assert cost(model="gpt-4o", image_tokens=100) == 100
    assert cost(model="claude-opus-5") == 1369
    assert cost(model="some-local-model") == 1600
