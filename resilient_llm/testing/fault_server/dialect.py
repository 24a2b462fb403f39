"""What a dialect is: how requests of one route are read, and how answers to them are written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

import attrs

from . import asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .asked import Body
    from .reply import Turn
    from .words import Backend

EVENTS = "text/event-stream"


@attrs.frozen
class Written:
    """A streamed answer, piece by piece.

    Args:
        opening: What comes before the first content.
        pieces: The content: a word, a thought, a fragment of a call each.
        finish: The finish reason, and the usage.
        end: The end marker.
    """

    opening: bytes
    pieces: Sequence[bytes]
    finish: bytes
    end: bytes

    @property
    def all(self) -> bytes:
        """The whole of it."""
        return b"".join([self.opening, *self.pieces, self.finish, self.end])


class Dialect:
    """Reads and writes the bodies of one route; this one streams nothing.

    Args:
        backend: In whose words errors are said.
    """

    kind: ClassVar[str] = EVENTS
    """The content type of streams."""
    id_header: ClassVar[str] = "x-request-id"
    beat: ClassVar[bytes] = b": keep-alive\n\n"
    """A sign of life without content."""
    truncates: ClassVar[bool] = False
    """Does it cut what is too long for the window, without a word, unless it is told not to?"""

    def __init__(self, backend: Backend) -> None:
        self.backend: Backend = backend

    def streams(self, body: Body) -> bool:
        """Does the request ask for a stream?"""
        return bool(body.get("stream"))

    def complaint(self, body: Body, headers: Body) -> str:
        """What is wrong with a request; empty if nothing is."""
        del body, headers
        return ""

    def count(self, body: Body) -> int:
        """A request's size in tokens."""
        return asked.count(body)

    def whole(self, turn: Turn) -> bytes:
        """An answer that comes whole."""
        raise NotImplementedError

    def hollow(self, turn: Turn) -> bytes:
        """A whole answer with nothing in it."""
        raise NotImplementedError

    def stream(self, turn: Turn) -> Written:
        """An answer that comes in pieces."""
        del turn
        return Written(b"", (), b"", b"")

    def error_event(self, error: bytes) -> bytes:
        """The event of a stream that brings the body of an error."""
        return error


def encode(value: object) -> bytes:
    """JSON as backends write it: text as UTF-8, not as escapes."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def event(value: object, name: str = "") -> bytes:
    """A server-sent event, with a name or without."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + encode(value) + b"\n\n"
