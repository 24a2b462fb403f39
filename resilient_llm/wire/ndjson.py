"""Newline-delimited JSON: any split of the bytes in, whole lines out.

A line ends at LF; a CR before it and blank lines are dropped, and so is a byte order mark at the very start. Lines
are cut in bytes: a character cut by a read never matters. State between reads: `_tail`, a line that has not ended.
"""

from __future__ import annotations

from typing import Final

from resilient_llm.errors import ModelResponseInvalidError

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
PADDING: Final = b" \t\r"
MAX_LINE_BYTES: Final = 16 * 1024 * 1024


class NDJSONDecoder:
    """Cuts a stream into lines.

    Attributes:
        failure: Set once a line outgrew the limit; nothing is decoded any more. It is not raised here, so that
            the lines that came before it in the same read are not lost.

    Args:
        max_line_bytes: The longest line; no more than that is kept in memory between two reads.
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.failure: ModelResponseInvalidError | None = None
        self._limit = max_line_bytes
        self._begun = False
        self._tail = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Decode the next read and return the lines that it completes."""
        if self.failure is not None:
            return []
        head, end, rest = data.rpartition(b"\n")
        if not end:
            self._keep(data)
            return []
        if self._tail:
            head = bytes(self._tail) + head
            self._tail.clear()
        lines = self._whole(head.split(b"\n"))
        self._keep(rest)
        return lines

    def eof(self) -> list[bytes]:
        """Give out what the end of the stream left without its line end."""
        if self.failure is not None:
            return []
        lines = self._whole([bytes(self._tail)])
        self._tail.clear()
        return lines

    def _whole(self, pieces: list[bytes]) -> list[bytes]:
        if not self._begun:
            self._begun = True
            pieces[0] = pieces[0].removeprefix(BYTE_ORDER_MARK)
        lines: list[bytes] = []
        for piece in pieces:
            if not self._fits(len(piece)):
                break
            if line := piece.strip(PADDING):
                lines.append(line)
        return lines

    def _keep(self, piece: bytes) -> None:
        """Keep a piece of a line that has not ended; it is looked at again only when it ends."""
        if self.failure is None:
            self._tail += piece
            self._fits(len(self._tail))

    def _fits(self, size: int) -> bool:
        if size <= self._limit:
            return True
        msg = f"a line of the stream is longer than {self._limit} bytes"
        self.failure = ModelResponseInvalidError(msg)
        self._tail.clear()
        return False
