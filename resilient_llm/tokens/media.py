"""What the parts of a message cost that are no text: images, documents, audio.

Their data is never counted as text; only as much of it is read as tells its size.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Mapping
from typing import Final

import attrs

from .image_rules import Constant, ImageRule
from .image_size import image_size, peeking

PAGE_TEXT: Final = 3_000
"""Tokens of the text of a PDF's page; Anthropic's page on PDFs says 1,500 to 3,000. Its picture comes on top."""

UNKNOWN_PAGES: Final = 5
"""How many pages a document is taken to have whose pages cannot be seen: a file's id, a URL."""

AUDIO_PER_SECOND: Final = 10
"""OpenAI counts a token for each tenth of a second."""

SLOWEST_AUDIO: Final = 4_000
"""Bytes a second of compressed audio (32 kbit/s), where the file does not tell."""

UNKNOWN_AUDIO: Final = 600
"""Tokens of audio whose data is not here: a minute."""

_REMEMBERED: Final = 256
_PAGE: Final = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_PAGES: Final = re.compile(rb"/(?:Count|N)\s+(\d{1,5})(?=[\s/>])")
_IMAGES: Final = ("image_url", "input_image", "image")


@attrs.frozen
class Media:
    """The cost of images, documents and audio for one model.

    A PDF costs 3,000 tokens a page and what the page's picture costs; audio ten tokens a second; what is only
    named (a file's id, a URL) as much as a document of five pages, or a minute. Anything else that is no text
    costs what an image of unknown size does.

    Args:
        image: The model's rule for images.
    """

    image: ImageRule = attrs.field(factory=Constant)
    _pages: dict[tuple[int, int], int] = attrs.field(factory=dict, init=False, repr=False, eq=False)

    def part(self, part: Mapping[str, object]) -> int:
        """A content part of OpenAI's chat or responses shape, or a block of Anthropic's."""
        kind = part.get("type")
        if kind in _IMAGES:
            return self._image(part)
        if kind == "input_audio":
            return _audio(part.get("input_audio"))
        if kind in {"file", "input_file", "document"}:
            return self._document(part)
        return self.image(None)

    def bare_image(self, data: object) -> int:
        """An image given as its base64 text or bytes alone, as Ollama takes them."""
        return self.image(image_size(data))

    def _image(self, part: Mapping[str, object]) -> int:
        source = part.get("image_url", part.get("source"))
        detail = part.get("detail")
        if isinstance(source, Mapping):
            detail = source.get("detail", detail)
            source = source.get("url", source.get("data"))
        return self.image(image_size(source), detail if isinstance(detail, str) else "auto")

    def _document(self, part: Mapping[str, object]) -> int:
        inner = part.get("file", part.get("source", part))
        data = inner.get("file_data", inner.get("data")) if isinstance(inner, Mapping) else None
        pages = self._count_pages(data) if isinstance(data, str) else UNKNOWN_PAGES
        return pages * (PAGE_TEXT + self.image(None))

    def _count_pages(self, data: str) -> int:
        """The pages of a PDF, looked for once; by the text's hash, so that no file is held on to."""
        key = len(data), hash(data)
        pages = self._pages.get(key)
        if pages is None:
            pages = pdf_pages(data)
            if len(self._pages) >= _REMEMBERED:
                self._pages.clear()
            self._pages[key] = pages
        return pages


def pdf_pages(data: str) -> int:
    """How many pages a PDF has, from its base64 text or `data:` URL; five if it does not show.

    Counts the page objects, or takes the largest total named: the lists of newer files are often compressed.
    """
    try:
        file = binascii.a2b_base64(data[data.find(",") + 1 :])
    except (binascii.Error, ValueError):
        return UNKNOWN_PAGES
    named = (int(number) for number in _PAGES.findall(file))
    return max(len(_PAGE.findall(file)), *named, 0) or UNKNOWN_PAGES


def plain_text(part: Mapping[str, object]) -> object:
    """The text or the parts inside a document or a search result of Anthropic's; None if there is no such."""
    if part.get("type") == "search_result":
        return part.get("content")
    source = part.get("source")
    if not isinstance(source, Mapping):
        return None
    if source.get("type") == "text":
        return source.get("data")
    return source.get("content") if source.get("type") == "content" else None


def _audio(audio: object) -> int:
    data = audio.get("data") if isinstance(audio, Mapping) else None
    peek = peeking(data)
    if peek is None or not isinstance(data, str):
        return UNKNOWN_AUDIO
    size = len(data) * 3 // 4
    head = peek(0, 44)
    if head.startswith(b"RIFF") and head[8:16] == b"WAVEfmt ":
        rate = int.from_bytes(head[28:32], "little")
        return math.ceil(AUDIO_PER_SECOND * size / max(rate, 1_000))
    return math.ceil(AUDIO_PER_SECOND * size / SLOWEST_AUDIO)
