"""OpenAI's chat stream with several choices at once: the first is read, of the others that they come and end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient_llm.events import Result

from .openai_shapes import Delta
from .openai_stream import ChatStreamDecoder
from .sse import MAX_EVENT_BYTES

if TYPE_CHECKING:
    from resilient_llm.events import Event

    from .openai_shapes import Choice, Chunk

PIECE: Final = Result(None)
"""A piece of a choice that is not read."""

SILENT: Final = (Delta(), Delta(content=""))


class ChoicesDecoder(ChatStreamDecoder):
    """As `ChatStreamDecoder`; the stream is complete when all choices that began have ended.

    Args:
        choices: How many were asked for; a server may give fewer.
        max_event_bytes: The longest event.
    """

    def __init__(self, choices: int, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(max_event_bytes=max_event_bytes)
        self._choices = choices
        self._opened: set[int] = set()
        self._reasons: dict[int, str] = {}

    def _chunk(self, chunk: Chunk, data: bytes, events: list[Event]) -> None:
        others = [choice for choice in chunk.choices or () if choice.index]
        if others:
            chunk.choices = [choice for choice in chunk.choices or () if not choice.index]
        super()._chunk(chunk, data, events)
        for choice in others:
            if choice.delta is not None and choice.delta not in SILENT:
                self._opened.add(choice.index or 0)
                events.append(PIECE)
            if choice.finish_reason:
                self._stopped(choice, chunk, data)

    def _delta(self, delta: Delta, events: list[Event]) -> None:
        self._opened.add(0)
        super()._delta(delta, events)

    def _stopped(self, choice: Choice, chunk: Chunk, data: bytes) -> None:
        super()._stopped(choice, chunk, data)
        self._reasons[choice.index or 0] = self.finish_reason or "stop"
        self.finish_reason = self._first() if len(self._reasons) >= self._choices else None

    def _finish(self, events: list[Event], *, marked: bool = False) -> None:
        if self._reasons and self._opened <= self._reasons.keys():
            self.finish_reason = self._first()
        super()._finish(events, marked=marked)

    def _first(self) -> str:
        return self._reasons.get(0, "stop")
