"""Heads of image files, put together by hand from the formats' specifications."""

from __future__ import annotations

import base64


def png(width: int, height: int) -> bytes:
    sides = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + sides + b"\x08\x06\x00\x00\x00" + bytes(100)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + bytes(100)


def webp(width: int, height: int) -> bytes:
    """The extended kind, as pictures with transparency or metadata have it."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x10\x00\x00\x00" + sides + bytes(100)


def webp_lossless(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return b"RIFF\x00\x00\x00\x00WEBPVP8L\x00\x00\x00\x00\x2f" + bits.to_bytes(4, "little") + bytes(100)


def webp_lossy(width: int, height: int) -> bytes:
    sides = width.to_bytes(2, "little") + (height | 1 << 14).to_bytes(2, "little")
    return b"RIFF\x00\x00\x00\x00WEBPVP8 \x00\x00\x00\x00\x10\x02\x00\x9d\x01\x2a" + sides + bytes(100)


def jpeg(width: int, height: int, *, metadata: int = 50_000) -> bytes:
    """With so many bytes of a camera's metadata before the frame, and fill bytes before its marker."""
    told = b"\xff\xe1" + (metadata + 2).to_bytes(2, "big") + b"\xff\xc0" * (metadata // 2)
    tables = b"\xff\xdb\x00\x04\x00\x00" + b"\xff\xc4\x00\x04\x00\x00"
    frame = b"\x00\x11\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + b"\x03"
    return b"\xff\xd8" + told + tables + b"\xff\xff\xff\xc2" + frame + bytes(100)


def data_url(file: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(file).decode()}"
