"""The text of an answer that comes in several parts, because its stream broke and was gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient_llm.events import Event, Finish, TextDelta, UsageEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDEST: Final = 256
"""How much white space a seam is examined for, in characters."""

_BESIDE_TEXT: Final = frozenset({TextDelta, UsageEvent, Finish})


class Draft:
    """What was handed over of an answer, and the seams where another response goes on with it.

    A model goes on badly after white space at the end of what it is given, many templates strip it, and some
    backends refuse it. So the beginning that a backend gets ends without, and what was handed over of it
    already is taken from the beginning of what follows: no space is doubled, none is lost.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._text_alone = True
        self._white: str | None = None  # handed over before the seam; None: there is no seam ahead
        self._held = ""

    def take(self, events: list[Event]) -> list[Event]:
        """Note the next events, and give what is to be handed over of them."""
        if self._white is not None:
            events = self._join(events, self._white)
        for event in events:
            if isinstance(event, TextDelta):
                self._texts.append(event.text)
            elif type(event) not in _BESIDE_TEXT:
                self._text_alone = False
        return events

    def cut(self) -> str:
        """The beginning to go on from; empty if there is none, or if it was not text alone."""
        text = "".join(self._texts)
        beginning = text.rstrip()
        self._white, self._held = text[len(beginning) :], ""
        return beginning if self._text_alone else ""

    def _join(self, events: Sequence[Event], white: str) -> list[Event]:
        """Hold white space back until it is seen what follows it."""
        joined: list[Event] = []
        for event in events:
            if self._white is None or not isinstance(event, TextDelta | Finish):
                joined.append(event)
                continue
            if isinstance(event, TextDelta):
                self._held += event.text
                if self._held.isspace() and len(self._held) < WIDEST:
                    continue
            rest = self._held[_overlap(white, self._held) :]
            if rest:
                joined.append(TextDelta(rest))
            self._white = None
            if isinstance(event, Finish):
                joined.append(event)
        return joined


def _overlap(white: str, text: str) -> int:
    """How many characters at the beginning of a text are the end of the white space before it."""
    longest = min(len(white), len(text), WIDEST)
    return next((size for size in range(longest, 0, -1) if white.endswith(text[:size])), 0)
