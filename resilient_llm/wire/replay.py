"""A stream that is told a second time: what its reader has already is dropped, the rest is handed on.

The first stream broke; `Delivered` is what its reader has of it. `Replay` compares the second one with that, text for
text and place for place (a choice, a content block), whatever the pieces that it comes in. A dialect's `Script` says
what its events mean.

- Text that the reader has is dropped; an event that goes beyond it is rewritten to the rest.
- An event that is there once (a block begins, a choice ends) is dropped if the reader has it, and must be equal.
- Whatever is new comes after all that the reader has of its choice; else the two streams differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resilient_llm.errors import ModelResponseInvalidError

from .payload import json_text, load_object
from .replay_parts import Mark, Text
from .sse import ServerSentEvent, SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .replay_parts import Place, Script, Unit


ENDS_OF_EVENTS: Final = (b"\n\n", b"\n\r\n", b"\r\r")


class StreamsDifferError(Exception):
    """The second stream is not the first one told again; nobody but the caller of `Replay` sees this."""


class WholeEvents:
    """Holds back the beginning of an event until the rest of it comes."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> bytes:
        """The bytes up to the end of the last event that is complete."""
        rest = self._rest
        if not rest and data.endswith(ENDS_OF_EVENTS):
            return data
        begin = max(0, len(rest) - 2)  # an end may have begun in the read before
        rest += data
        ends = [at + len(mark) for mark in ENDS_OF_EVENTS if (at := rest.rfind(mark, begin)) >= 0]
        if not ends:
            return b""
        events = bytes(rest[: max(ends)])
        del rest[: max(ends)]
        return events

    def eof(self) -> bytes:
        """What is left."""
        return bytes(self._rest)


class Delivered:
    """What the reader has.

    Attributes:
        texts: By place.
        text: As stages read it.
        marks: By place and name.
        text_alone: Is that all there is?

    Args:
        stream: The bytes that were handed on; whole events.
        script: Of their dialect.
    """

    def __init__(self, stream: bytes, script: Script) -> None:
        self.marks: dict[tuple[Place, str], object] = {}
        self.text_alone = True
        pieces: dict[Place, list[str]] = {}
        for event in spoken(SSEDecoder(max_event_bytes=len(stream)).feed(stream)):
            body = body_of(event)
            if body is None:
                self.text_alone = False
                continue
            script.heard(body)
            for part in (part for unit in script.units(body) for part in unit.parts):
                if isinstance(part, Text):
                    pieces.setdefault(part.place, []).append(part.text)
                elif isinstance(part, Mark):
                    self.marks[part.place, part.name] = part.value
                else:
                    self.text_alone = False
        self.texts = {place: "".join(found) for place, found in pieces.items()}
        size = len(script.read)
        self.text = "".join(text for place, text in self.texts.items() if place[:size] == script.read)


class Replay:
    """Compares a second stream with what was delivered of the first.

    Args:
        delivered: That.
        script: The same that `delivered` was read with.
    """

    def __init__(self, delivered: Delivered, script: Script) -> None:
        self._told = delivered
        self._script = script
        self._sse = SSEDecoder()
        self._at = dict.fromkeys(delivered.texts, 0)
        self._unsaid = set(delivered.marks)
        self._behind = True

    def feed(self, data: bytes) -> list[bytes]:
        """The events that the next bytes complete, as far as they are new.

        Raises:
            StreamsDifferError: They tell something else. What came before in the same read is lost with it.
            ModelResponseInvalidError: An event is too long.
        """
        events = self._sse.feed(data)
        if self._sse.failure is not None:
            raise self._sse.failure
        return self._new(events)

    def eof(self) -> list[bytes]:
        """The last events.

        Raises:
            StreamsDifferError: The second stream is shorter than what the reader has.
        """
        rest = self._new(self._sse.eof())
        self._need(())
        return rest

    def _new(self, events: Iterable[ServerSentEvent]) -> list[bytes]:
        return [frame for event in spoken(events) if (frame := self._event(event))]

    def _event(self, event: ServerSentEvent) -> bytes:
        """What is handed on of an event; empty if that is nothing."""
        body = body_of(event)
        if body is None:
            self._need(())
            return framed(event.name, event.data)
        units = self._script.units(body)
        kept = [unit for unit in units if self._keeps(unit)]
        if not kept:
            return b""
        self._script.rewrite(body, kept)
        return framed(event.name, json_text(body).encode())

    def _keeps(self, unit: Unit) -> bool:
        """Is there anything new in it? Takes out what is not."""
        if not unit.parts:
            return self._has_all(unit.scope)
        kept, repeated = False, False
        for part in unit.parts:
            if isinstance(part, Text):
                new = self._text(part)
            elif isinstance(part, Mark):
                new = self._mark(part)
                repeated = repeated or not (new or part.taken_out())
            else:
                new = True
            if new:
                self._need(unit.scope)
                kept = True
        if kept and repeated:
            raise StreamsDifferError
        return kept

    def _text(self, part: Text) -> bool:
        """Leave what is new of a text; is there anything?"""
        text, place = part.text, part.place
        told, at = self._told.texts.get(place, ""), self._at.get(place, 0)
        size = min(len(text), len(told) - at)
        if not told.startswith(text[:size], at):
            raise StreamsDifferError
        if size:
            self._at[place] = at + size
        part.holder[part.key] = rest = text[size:]
        return bool(rest)

    def _mark(self, mark: Mark) -> bool:
        """Is it new?"""
        known = (mark.place, mark.name)
        self._unsaid.discard(known)
        if known not in self._told.marks:
            return True
        if self._told.marks[known] != mark.value:
            raise StreamsDifferError
        return False

    def _has_all(self, scope: Place) -> bool:
        """Was all that the reader has of it told again?"""
        if not self._behind:
            return True
        size, texts = len(scope), self._told.texts
        behind = any(
            at < len(texts[place]) for place, at in self._at.items() if place[:size] == scope
        ) or any(place[:size] == scope for place, _ in self._unsaid)
        if not scope:
            self._behind = behind
        return not behind

    def _need(self, scope: Place) -> None:
        if not self._has_all(scope):
            raise StreamsDifferError


def spoken(events: Iterable[ServerSentEvent]) -> list[ServerSentEvent]:
    """The events that say something: no signs of life."""
    return [event for event in events if event.name != "ping" and event.data.strip()]


def body_of(event: ServerSentEvent) -> dict[str, Any] | None:
    """The JSON of an event; None for the end marker, and for what is no object."""
    try:
        return load_object(event.data)
    except ModelResponseInvalidError:
        return None


def framed(name: str, data: bytes) -> bytes:
    """An event as bytes."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"
