"""From the wire's events to what is handed over: tool calls made whole and checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from resilient_llm.errors import LLMError, ModelContentFilteredError, ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta, UsageEvent
from resilient_llm.models import NO_USAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTENT: Final = frozenset({TextDelta, ReasoningDelta, ToolCall, ToolCallDelta})
PASSED_ON: Final = frozenset({TextDelta, ReasoningDelta, UsageEvent})
PLAIN: Final = PASSED_ON | {Finish}

MAX_CALLS: Final = 10_000
"""Tool calls of one answer; no model makes so many, and each takes more memory than bytes."""
MAX_LOOKS: Final = 16
"""A call that was so often found unfinished when another began is looked at again at the end only."""

_validate = msgspec.json.Decoder().decode


def holds_content(events: Sequence[Event]) -> bool:
    """Did content arrive on the wire: text, reasoning, a tool call or a fragment of one?"""
    return not CONTENT.isdisjoint(map(type, events))


def parses(arguments: str) -> bool:
    """Are these the whole arguments of a call? No text at all is: many functions take none."""
    if not arguments:
        return True
    try:
        _validate(arguments)
    except (ValueError, RecursionError):
        try:
            json.loads(arguments)  # takes what msgspec refuses: half a surrogate pair, NaN
        except (ValueError, RecursionError):
            return False
    return True


@attrs.define(eq=False)
class _OpenCall:
    """A call whose fragments are still coming in."""

    index: int
    id: str = ""
    name: str = ""
    pieces: list[str] = attrs.field(factory=list)
    looks: int = 0

    def whole(self) -> ToolCall:
        return ToolCall(self.index, self.id, self.name, "".join(self.pieces))


class Assembler:
    """Makes tool calls whole, and judges an answer when it finishes.

    A call is handed over when the next one begins, or before `Finish`; a call without arguments only then,
    as its fragments may come interleaved with another's. With `tool_deltas` its fragments are handed over as
    they come, and the whole call at its end all the same; a call that comes whole is a single fragment.

    Nothing is raised: what makes the answer unusable is kept in `failure`, because events of the same batch
    may have come before it. Hand them over first, then raise it.

    Attributes:
        usage: What the backend told of the answer's tokens last; empty until then.
        failure: A `ModelResponseInvalidError` for a tool call cut in its arguments, unless the answer was cut
            by its length, which is a completion without that call; a `ModelContentFilteredError` for an
            answer that was filtered before anything was said. `Finish` is not handed over then.

    Args:
        tool_deltas: Hand over the fragments of tool calls, too.
    """

    def __init__(self, *, tool_deltas: bool = False) -> None:
        self.usage = NO_USAGE
        self.failure: LLMError | None = None
        self._fragments = tool_deltas
        self._open: dict[int, _OpenCall] = {}
        self._handed: set[int] = set()
        self._said = False

    def feed(self, events: list[Event]) -> list[Event]:
        """Turn a batch of a codec's events into what is handed over; often that is the same list."""
        if len(events) == 1 and type(events[0]) is TextDelta:  # the usual batch of a stream that trickles
            self._said = True
            return events
        types = set(map(type, events))
        self._said = self._said or not CONTENT.isdisjoint(types)
        if UsageEvent in types:
            for event in events:
                if type(event) is UsageEvent:
                    self.usage = event.usage
        if types <= PASSED_ON:
            return events
        if self._said and not self._open and types <= PLAIN:
            return events
        out: list[Event] = []
        for event in events:
            self._event(event, out)
            if self.failure is not None:
                break
        return out

    def _event(self, event: Event, out: list[Event]) -> None:
        if isinstance(event, ToolCallDelta):
            if event.index not in self._open and event.index not in self._handed:
                self._hand_over(out)
            self._fragment(event)
            if self._fragments and self.failure is None:
                out.append(event)
        elif isinstance(event, ToolCall):
            self._hand_over(out)
            if self._fragments:
                out.append(ToolCallDelta(event.index, event.id, event.name, event.arguments))
            if self._open or not is_sound(event):
                self._open[event.index] = _OpenCall(event.index, event.id, event.name, [event.arguments])
            else:
                out.append(event)
        elif isinstance(event, Finish):
            self._finish(event, out)
        else:
            out.append(event)

    def _fragment(self, delta: ToolCallDelta) -> None:
        if delta.index in self._handed:
            if delta.arguments.strip():
                self.failure = _cut(delta.name)
            return
        call = self._open.get(delta.index)
        if call is None:
            if len(self._open) + len(self._handed) >= MAX_CALLS:
                self.failure = ModelResponseInvalidError(f"the answer makes more than {MAX_CALLS} tool calls")
                return
            call = self._open[delta.index] = _OpenCall(delta.index)
        call.id = call.id or delta.id
        call.name = call.name or delta.name
        call.pieces.append(delta.arguments)

    def _hand_over(self, out: list[Event]) -> None:
        """Hand over the calls that are whole, in order; more fragments of the others may still come."""
        while self._open:
            call = next(iter(self._open.values()))
            if call.looks >= MAX_LOOKS:
                return
            call.looks += 1
            whole = call.whole()
            if not whole.arguments or not is_sound(whole):
                return
            del self._open[call.index]
            self._handed.add(call.index)
            out.append(whole)

    def _finish(self, finish: Finish, out: list[Event]) -> None:
        calls = [call.whole() for call in self._open.values()]
        if finish.reason == "length":
            # nothing tells a last call without arguments from one whose arguments were about to begin
            calls = [call for call in calls if is_sound(call) and (call.arguments or call is not calls[-1])]
        cut = next((call for call in calls if not is_sound(call)), None)
        if finish.reason == "content_filter" and (cut is not None or not self._said):
            msg = "the answer was filtered before it was complete"
            self.failure = ModelContentFilteredError(msg)
        elif cut is not None:
            self.failure = _cut(cut.name)
        else:
            out += [*calls, finish]


def is_sound(call: ToolCall) -> bool:
    """Can this call be handed over: does it name a function, and do its arguments parse?"""
    return bool(call.name) and parses(call.arguments)


def _cut(name: str) -> ModelResponseInvalidError:
    return ModelResponseInvalidError(f"the arguments of the tool call {name!r} are no complete JSON")
