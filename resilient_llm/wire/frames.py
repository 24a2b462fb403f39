"""AWS's binary event stream (`application/vnd.amazon.eventstream`): any split of the bytes in, whole frames out.

A frame is a prelude (its length, the length of its headers, a CRC-32 of both), headers, a payload, and a CRC-32 of all
before it; numbers are big-endian
(https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html). Lengths are judged with the prelude,
before anything is kept. State between reads: `_kept`, the frame that has not ended; `_size`, how long it or its
prelude is.
"""

from __future__ import annotations

import struct
from typing import Final
from zlib import crc32

import msgspec

from resilient_llm.errors import ModelResponseInvalidError

from .sse import MAX_EVENT_BYTES

PRELUDE: Final = struct.Struct(">III")
CRC: Final = struct.Struct(">I")
LENGTH: Final = struct.Struct(">H")
MAX_HEADER_BYTES: Final = 128 * 1024
STRING: Final = 7
WITH_LENGTH: Final = (6, STRING)
SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type: true, false, byte, short, integer, long, time stamp, UUID."""


class Frame(msgspec.Struct, frozen=True):
    """One frame.

    Args:
        headers: Those whose values are strings.
        payload: As it came.
    """

    headers: dict[str, str]
    payload: bytes


class FrameDecoder:
    """Cuts a stream into frames.

    Attributes:
        failure: Set once a frame was damaged, malformed or too long; nothing is decoded any more. It is not raised
            here, so that the frames that came before it in the same read are not lost.

    Args:
        max_frame_bytes: The longest frame; no more than that is kept in memory between two reads.
    """

    def __init__(self, *, max_frame_bytes: int = MAX_EVENT_BYTES) -> None:
        self.failure: ModelResponseInvalidError | None = None
        self._limit = max_frame_bytes
        self._kept = bytearray()
        self._size = PRELUDE.size

    @property
    def missing(self) -> int:
        """How many bytes there are to the end of the frame, or of its prelude where that has not come yet."""
        return self._size - len(self._kept)

    def feed(self, data: bytes) -> list[Frame]:
        """Decode the next read and return the frames that it completes."""
        frames: list[Frame] = []
        at = 0
        try:
            while self.failure is None and at < len(data):
                piece = data[at : at + self.missing]
                at += len(piece)
                self._kept += piece
                if not self.missing:
                    self._step(frames)
        except ModelResponseInvalidError as failure:
            self.failure = failure
            self._kept.clear()
        return frames

    def _step(self, frames: list[Frame]) -> None:
        kept = self._kept
        size, headers_size, crc = PRELUDE.unpack_from(kept)
        if len(kept) == PRELUDE.size:
            _need(crc == crc32(kept[:8]), "the checksum of a frame's prelude does not match")
            fits = PRELUDE.size + headers_size + CRC.size <= size <= self._limit
            _need(fits and headers_size <= MAX_HEADER_BYTES, "the lengths of a frame are wrong or too long")
            self._size = size
            return
        body = bytes(kept[: -CRC.size])
        _need(
            CRC.unpack_from(kept, size - CRC.size)[0] == crc32(body), "the checksum of a frame does not match"
        )
        end = PRELUDE.size + headers_size
        frames.append(Frame(_headers(body[PRELUDE.size : end]), body[end:]))
        kept.clear()
        self._size = PRELUDE.size


def _headers(data: bytes) -> dict[str, str]:
    """The headers that are strings, all others skipped."""
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name = data[at + 1 : at + 1 + data[at]]
            at += 1 + data[at]
            kind = data[at]
            at += 1
            size = SIZES.get(kind, 0)
            if kind in WITH_LENGTH:
                size = LENGTH.unpack_from(data, at)[0]
                at += LENGTH.size
            _need(kind in SIZES or kind in WITH_LENGTH, f"a frame has a header of the unknown type {kind}")
            if kind == STRING:
                headers[name.decode()] = data[at : at + size].decode()
            at += size
        _need(at == len(data), "a header is cut")
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        msg = "the headers of a frame cannot be read"
        raise ModelResponseInvalidError(msg) from error
    return headers


def _need(sound: bool, what: str) -> None:
    if not sound:
        msg = f"the event stream is damaged: {what}"
        raise ModelResponseInvalidError(msg)
