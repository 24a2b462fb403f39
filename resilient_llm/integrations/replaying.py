"""StreamReplay: a stream of a wrapped client that breaks is told again, and its reader notices nothing.

The rules of this file:

- The reader gets whole events only: an event that the break cut in two would be half of one that follows.
- From the first piece of a tool call on, bytes are held until the answer is complete, so that no reader has a call that
  another attempt would write differently.
- What the reader has is kept as bytes. Only a break has them looked at.
- `_wire` is what the reader's side holds on to: its bytes are those of all attempts, its head is the first one's.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import attrs

from resilient_llm.errors import LLMError, ModelResponseInvalidError
from resilient_llm.events import ReasoningDelta, Restarted, TextDelta, ToolCall, ToolCallDelta
from resilient_llm.middleware.repeating import LastAttempt, Repeating
from resilient_llm.outcome import COMPLETED
from resilient_llm.wire.replay import Delivered, Replay, StreamsDifferError, WholeEvents

from .observed_body import WireInfo

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from resilient_llm.events import Event
    from resilient_llm.http_call import Asked
    from resilient_llm.outcome import Outcome
    from resilient_llm.pipeline import Handler
    from resilient_llm.request import Request
    from resilient_llm.response import Response

MOST_BYTES: Final = 16 * 1024 * 1024
"""The longest stream that is kept to be compared with its repetition."""

CALLS: Final = frozenset({ToolCall, ToolCallDelta})


class StreamReplay:
    """Repeat the call of a stream that breaks after its first content, and hand on what its reader does not have yet.

    Stands where `StreamRecovery` would, in the stack of a wrapped client: `standard_stack(recovery="replay")`. `Retry`
    says whether and when to call again. The repeated text is compared with what was delivered, choice by choice and
    block by block; ids and time stamps may differ, and so may the pieces that it comes in. What is equal is dropped.
    Where the repeated answer differs, or where more than text was delivered (thinking, probabilities, citations), the
    client's own connection error is raised.

    Tool calls are handed over when the answer is complete, not while they are written. Chat chunks keep the id of the
    first attempt; usage is the last one's. Calls that are no chats pass, and so do answers that are no event streams.
    """

    role = "recovery"

    def __call__(self, request: Request, call_next: Handler) -> Awaitable[Response]:
        """Call; a stream that may be told again is wrapped into one that can be."""
        call = request.extensions.get("http_call")
        if call is None or not request.stream or not call.asked.repeatable or call.asked.script() is None:
            return call_next(request)
        return _replaying(request, call_next, call.asked)


async def _replaying(request: Request, call_next: Handler, asked: Asked) -> Response:
    attempts = LastAttempt()
    request = request.observed_by(attempts)
    response = await call_next(request)
    if response.outcome is not None or not _is_event_stream(response):
        return response
    return _Replaying(response, request, call_next, attempts, asked)


def _is_event_stream(response: Response) -> bool:
    info = response.info
    return isinstance(info, WireInfo) and "event-stream" in info.headers.get("content-type", "")


class _Replaying(Repeating):
    """Tells the reader what it has not heard yet."""

    def __init__(
        self, inner: Response, request: Request, call_next: Handler, attempts: LastAttempt, asked: Asked
    ) -> None:
        assert isinstance(inner.info, WireInfo)
        self._wire = attrs.evolve(inner.info, chunks=deque())
        super().__init__(inner, request, call_next, attempts)
        self._asked_for = asked
        self._told: list[bytes] | None = []  # None: it cannot be told again
        self._size = 0
        self._events = WholeEvents()
        self._calls: list[bytes] = []  # tool calls, until the answer is complete
        self._holds = False
        self._replay: Replay | None = None
        self._broke: LLMError | None = None
        self._heard = 0

    def _hold(self, inner: Response) -> None:
        super()._hold(inner)
        self.info = self._wire

    async def _batch(self) -> list[Event]:
        inner = self._inner
        try:
            events = await inner.receive(once=True)
        except LLMError as error:
            return await self._recover(error)
        self._wire.model = inner.info.model
        try:
            self._hand_on(events)
        except (StreamsDifferError, ModelResponseInvalidError):
            inner.close()
            raise self._differs() from None
        if not events and inner.outcome is not None:
            self._settle(inner.outcome)  # a stage inside has closed it
        return self._unheard(events)

    # Bytes ...

    def _hand_on(self, events: list[Event]) -> None:
        """Put the bytes that came with the events where the reader takes them from."""
        assert isinstance(self._inner.info, WireInfo)
        chunks = self._inner.info.chunks
        data = b"".join(chunks)
        chunks.clear()
        complete = self._inner.outcome is COMPLETED
        if self._replay is None:
            data = self._events.feed(data) + (self._events.eof() if complete else b"")
        else:
            data = b"".join(self._replay.feed(data) + (self._replay.eof() if complete else []))
        self._size += len(data)
        kinds = set(map(type, events))
        if ReasoningDelta in kinds or self._size > MOST_BYTES:
            self._told, self._holds = None, False
        elif self._told is not None and not CALLS.isdisjoint(kinds):
            self._holds = True
        self._calls.append(data)
        if complete or not self._holds:
            self._deliver()

    def _deliver(self) -> None:
        pieces = [piece for piece in self._calls if piece]
        self._calls.clear()
        self._wire.chunks.extend(pieces)
        if self._told is not None:
            self._told += pieces

    # Telling again ...

    async def _recover(self, error: LLMError) -> list[Event]:
        """Get the response that tells it again; raise what ends it all."""
        script = self._asked_for.script()
        if self._told is None or script is None:
            error.add_note("not repeated: more than text was delivered, or too much of it")
            raise error
        delivered = Delivered(b"".join(self._told), script)
        if not delivered.text_alone:
            error.add_note("not repeated: more than text was delivered")
            raise error
        inner = await self._again(error)
        if inner is None:
            return []
        error.__traceback__ = None  # whoever keeps the event or the trace would keep this response
        self._broke = error
        self._hold(inner)
        if not _is_event_stream(inner):
            inner.close()
            raise self._differs()
        self._calls.clear()
        self._holds = False
        self._replay = Replay(delivered, script)
        self._heard = len(delivered.text)
        text = [TextDelta(delivered.text)] if delivered.text else []
        return [Restarted(error, inner.request.attempt), *text]

    def _differs(self) -> LLMError:
        """What broke the stream before, for it could not be mended."""
        assert self._broke is not None
        self._broke.add_note("not recovered: the repeated answer differs from what was delivered")
        return self._broke

    def _unheard(self, events: list[Event]) -> list[Event]:
        """The events without the text that is told again."""
        if not self._heard:
            return events
        new: list[Event] = []
        for event in events:
            if isinstance(event, TextDelta):
                size = min(self._heard, len(event.text))
                self._heard -= size
                if size < len(event.text):
                    new.append(TextDelta(event.text[size:]))
            else:
                new.append(event)
        return new

    # Ending ...

    def _settle(self, outcome: Outcome) -> None:
        super()._settle(outcome)
        if isinstance(self._inner.info, WireInfo):
            self._wire.closing = self._inner.info.closing
