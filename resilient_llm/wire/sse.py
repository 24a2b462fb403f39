"""Server-Sent Events: any split of the bytes in, whole events out.

The rules are those of the WHATWG event-stream algorithm, over bytes: only whoever reads the JSON decodes it, so a
character cut by a read never matters. The fields `id` and `retry` are for readers that connect again, and mean
nothing here. Three things are added for LLM backends: an event that the end of the stream
leaves open is given out, marked as incomplete; a field named `error` (old llama.cpp, llamafile) and a bare JSON
line (Ollama) are events named `error`, for nothing else would tell of the failure.

State between reads: `_head` while a byte order mark may still come; `_after_cr` because the LF of a CRLF may come
in the next read; `_tail`, a line that has not ended; `_data` (each line with an LF) and `_name` of an event that
has not ended.
"""

from __future__ import annotations

from typing import Final

import msgspec

from resilient_llm.errors import ModelResponseInvalidError

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024


class ServerSentEvent(msgspec.Struct, frozen=True, gc=False):
    """One event.

    Args:
        data: The `data` lines, joined with LF.
        name: The `event` field; `"error"` also for a field named `error` and for a bare JSON line.
        complete: False if the stream ended before the event did.
    """

    data: bytes
    name: str = ""
    complete: bool = True


class SSEDecoder:
    """Cuts a stream into events.

    Attributes:
        failure: Set once a line or an event outgrew the limit; nothing is decoded any more. It is not raised
            here, so that the events that came before it in the same read are not lost.

    Args:
        max_event_bytes: The longest line and the longest data of an event; what is kept in memory between two
            reads never exceeds twice as much.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.failure: ModelResponseInvalidError | None = None
        self._limit = max_event_bytes
        self._head: bytes | None = b""
        self._after_cr = False
        self._tail = bytearray()
        self._data = bytearray()
        self._name = ""

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Decode the next read and return the events that it completes."""
        events: list[ServerSentEvent] = []
        if self.failure is not None:
            return events
        if self._head is not None:
            data = self._without_mark(data)
        if self._after_cr or b"\r" in data:
            data = self._with_lf(data)
        if b"\n" not in data:
            self._keep(data)
            return events
        if self._tail:
            data = bytes(self._tail) + data
            self._tail.clear()
        if not self._data and not self._name and len(data) <= self._limit:
            data = _take_plain(data, events)
            if not data:
                return events
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._line(line, events)
        self._keep(rest)
        return events

    def eof(self) -> list[ServerSentEvent]:
        """Give out what the end of the stream left open, marked as incomplete."""
        events: list[ServerSentEvent] = []
        self._line(bytes(self._tail), events)
        self._tail.clear()
        self._dispatch(events)
        return [msgspec.structs.replace(event, complete=False) for event in events]

    def _without_mark(self, data: bytes) -> bytes:
        head = (self._head or b"") + data
        if len(head) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(BYTE_ORDER_MARK)

    def _with_lf(self, data: bytes) -> bytes:
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, piece: bytes) -> None:
        """Keep a piece of a line that has not ended; it is looked at again only when it ends."""
        if self.failure is None:
            self._tail += piece
            self._fits(len(self._tail))

    def _line(self, line: bytes, events: list[ServerSentEvent]) -> None:
        if self.failure is not None or not self._fits(len(line)):
            return
        if not line:
            self._dispatch(events)
        elif line.startswith(b"data: "):
            self._add(line[6:])
        else:
            self._field(line, events)

    def _field(self, line: bytes, events: list[ServerSentEvent]) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._add(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif field == b"error":
            events.append(ServerSentEvent(value, "error"))
        elif line.startswith(b"{"):
            events.append(ServerSentEvent(line, "error"))

    def _add(self, value: bytes) -> None:
        self._data += value
        self._data += b"\n"
        self._fits(len(self._data) - 1)

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        if self._data:
            events.append(ServerSentEvent(bytes(self._data[:-1]), self._name))
            self._data.clear()
        self._name = ""

    def _fits(self, size: int) -> bool:
        if size <= self._limit:
            return True
        msg = f"an event of the stream is longer than {self._limit} bytes"
        self.failure = ModelResponseInvalidError(msg)
        self._tail.clear()
        self._data.clear()
        return False


def _take_plain(data: bytes, events: list[ServerSentEvent]) -> bytes:
    """Take the events off the front of `data` if all are alike, and return what is left.

    Almost every stream is of events that are a lone `data: ` line, or such a line after an `event: ` line; cutting it
    takes a few calls into C however many events a read brought.
    """
    end = data.rfind(b"\n\n")
    if end < 0:
        return data
    if data.startswith(b"data: "):
        values = data[6:end].split(b"\n\ndata: ")
        if data.count(b"\n", 0, end) != 2 * len(values) - 2:
            return data
        events += map(ServerSentEvent, values)
        return data[end + 2 :]
    if not data.startswith(b"event: "):
        return data
    pairs = [piece.split(b"\ndata: ") for piece in data[7:end].split(b"\n\nevent: ")]
    if data.count(b"\n", 0, end) != 3 * len(pairs) - 2 or set(map(len, pairs)) != {2}:
        return data
    events += [ServerSentEvent(value, name.decode("utf-8", "replace")) for name, value in pairs]
    return data[end + 2 :]
