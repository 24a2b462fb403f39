"""The size of an image in pixels, read from the head of its file; no image library, no whole decoding."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from itertools import takewhile
from typing import Final, TypeAlias

Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""

Peek: TypeAlias = Callable[[int, int], bytes]
"""Some bytes of a file: where they begin, and how many; fewer at its end."""

_HEAD: Final = 32
_MOST_SEGMENTS: Final = 1_000
# Start-of-frame markers of JPEG; C4, C8 and CC of the same row mean other things (ITU-T T.81, table B.1).
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})


def image_size(data: object) -> Size | None:
    """Width and height of a PNG, JPEG, GIF or WebP; None if it is none of these, or damaged.

    Args:
        data: The file's bytes, its base64 text, or a `data:` URL with base64 text.
    """
    peek = peeking(data)
    if peek is None:
        return None
    head = peek(0, _HEAD)
    size = _png(head) or _gif(head) or _webp(head) or _jpeg(peek)
    return size if size and min(size) > 0 else None


def peeking(data: object) -> Peek | None:
    """A way to look into a file that is given as bytes, as base64 text or as a `data:` URL; else None."""
    if isinstance(data, bytes | bytearray):
        return lambda start, count: bytes(data[start : start + count])
    if not isinstance(data, str):
        return None
    begin = 0
    if data.startswith("data:"):
        begin = data.find(";base64,", 0, 256) + len(";base64,")
        if begin < len(";base64,"):
            return None
    return lambda start, count: _decoded(data, begin, start, count)


def _decoded(text: str, begin: int, start: int, count: int) -> bytes:
    """Some bytes of base64 text: four characters hold three bytes, so that any place can be found."""
    first = begin + start // 3 * 4
    last = begin + -(-(start + count) // 3) * 4
    try:
        found = binascii.a2b_base64(text[first:last])
    except (binascii.Error, ValueError):
        return b""
    return found[start % 3 : start % 3 + count]


def _png(head: bytes) -> Size | None:
    if not head.startswith(b"\x89PNG\r\n\x1a\n") or head[12:16] != b"IHDR":
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _gif(head: bytes) -> Size | None:
    if not head.startswith((b"GIF87a", b"GIF89a")):
        return None
    return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")


def _webp(head: bytes) -> Size | None:
    """Three kinds: lossy (RFC 6386, 9.1), lossless (its own specification), extended."""
    if not head.startswith(b"RIFF") or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        sides = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
        return sides[0] & 0x3FFF, sides[1] & 0x3FFF
    return None


def _jpeg(peek: Peek) -> Size | None:
    """From segment to segment up to the frame's own; pictures of cameras have many before it."""
    if peek(0, 2) != b"\xff\xd8":
        return None
    place = 2
    for _ in range(_MOST_SEGMENTS):
        segment = peek(place, 16)
        fill = sum(1 for _ in takewhile(0xFF.__eq__, segment))
        if not 0 < fill < len(segment):
            return None
        marker = segment[fill]
        place += fill + 1
        if marker in _BARE:
            continue
        body = peek(place, 7)
        if marker in _FRAMES:
            return int.from_bytes(body[5:7], "big"), int.from_bytes(body[3:5], "big")
        length = int.from_bytes(body[:2], "big")
        if length < 2:
            return None
        place += length
    return None
