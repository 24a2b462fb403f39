"""What the events of a stream say, as far as it matters for one that is told again; see `replay`."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import attrs

Place: TypeAlias = tuple[int, ...]
"""Where text stands in the answer: a choice, or an item and its part. A shorter one means all that begins with it."""


@attrs.frozen
class Text:
    """A piece of text, and where in its event it stands."""

    place: Place
    holder: dict[str, Any]
    key: str

    @property
    def text(self) -> str:
        """The piece."""
        text: str = self.holder[self.key]
        return text


@attrs.frozen
class Mark:
    """What a stream says once of a place.

    Args:
        place: Where.
        name: What.
        value: What must be equal when it is said again.
        holder: Where it is taken out of, if the rest of its event is handed on; None: it cannot be.
    """

    place: Place
    name: str
    value: object = None
    holder: dict[str, Any] | None = None

    def taken_out(self) -> bool:
        """Take it out of its event, if it can be."""
        if self.holder is not None:
            del self.holder[self.name]
        return self.holder is not None


@attrs.frozen
class Beyond:
    """Anything else of which a reader may have made something."""


BEYOND = Beyond()

Part: TypeAlias = Text | Mark | Beyond


@attrs.frozen
class Unit:
    """What is handed on or dropped as one: an event, or one choice of it.

    Args:
        scope: The place that the reader must have all of before there is anything new in here.
        body: Its JSON.
        parts: What it says; without any, nothing that matters.
    """

    scope: Place
    body: dict[str, Any]
    parts: tuple[Part, ...] = ()


class Script(Protocol):
    """What the events of one dialect mean; made for one recovery, which it may remember things of.

    Attributes:
        read: The place of the text that stages read: the first choice, or all.
    """

    read: Place

    def units(self, body: dict[str, Any], /) -> list[Unit]:
        """What an event says."""
        ...

    def heard(self, body: dict[str, Any], /) -> None:
        """Remember an event of the first stream: its ids count from then on."""
        ...

    def rewrite(self, body: dict[str, Any], kept: list[Unit], /) -> None:
        """Make an event of the second stream one of the first, of which only some units are handed on."""
        ...
