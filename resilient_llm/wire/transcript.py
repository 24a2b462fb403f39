"""What was handed over of an answer, and the `Completion` that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_llm.events import Event, Finish, ReasoningDelta, Restarted, TextDelta, ToolCall, UsageEvent
from resilient_llm.models import NO_USAGE, Completion, FunctionCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from resilient_llm.models import Attempt, Message, PruneReport


class Transcript:
    """Keeps the events of an answer as they are handed over.

    Attributes:
        record: Takes the next event; as cheap as appending to a list, because it is.
        extend: Takes a batch.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self.record: Callable[[Event], None] = self._events.append
        self.extend: Callable[[Sequence[Event]], None] = self._events.extend

    def __len__(self) -> int:
        return len(self._events)

    def followed_by(self, events: Iterable[Event]) -> Transcript:
        """A copy, with more events."""
        both = Transcript()
        both.extend([*self._events, *events])
        return both

    def completion(
        self,
        *,
        model: str = "",
        backend: str = "",
        request_id: str | None = None,
        cached: bool = False,
        attempts: int = 1,
        trace: tuple[Attempt, ...] = (),
        sent: Sequence[Message] = (),
        pruned: PruneReport | None = None,
        body: bytes | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Completion:
        """The answer so far; without a finish reason until `Finish` was recorded. See `Completion`."""
        told = _Told(self._since_restart())
        calls = told.calls
        legacy = next((call for call in calls if not call.id), None) if calls else None
        return Completion(
            text="".join(told.texts),
            reasoning="".join(told.thoughts),
            tool_calls=tuple([call for call in calls if call.id]) if calls else (),
            function_call=FunctionCall(legacy.name, legacy.arguments) if legacy else None,
            finish_reason=told.reason,
            usage=told.usage,
            model=model,
            backend=backend,
            request_id=request_id,
            cached=cached,
            attempts=attempts,
            trace=trace,
            sent=sent,
            pruned=pruned,
            body=body,
            extra=extra or {},
        )

    def _since_restart(self) -> list[Event]:
        """What counts: a `Restarted` event tells to drop what came before it."""
        events = self._events
        for index in range(len(events) - 1, -1, -1):
            if type(events[index]) is Restarted:
                return events[index + 1 :]
        return events


class _Told:
    """What events tell, sorted in one pass: an answer may have many thousands."""

    def __init__(self, events: list[Event]) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[ToolCall] = []
        self.usage = NO_USAGE
        self.reason: str | None = None
        for event in events:
            if isinstance(event, TextDelta):
                self.texts.append(event.text)
            elif isinstance(event, ReasoningDelta):
                self.thoughts.append(event.text)
            elif isinstance(event, ToolCall):
                self.calls.append(event)
            elif isinstance(event, UsageEvent):
                self.usage = event.usage
            elif isinstance(event, Finish):
                self.reason = event.reason
