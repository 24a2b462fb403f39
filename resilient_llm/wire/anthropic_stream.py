"""Anthropic's stream of events.

A message is told block by block: a start with the block's kind, pieces, a stop; the pieces name their block by its
index. Blocks of calls are numbered anew, for text and thoughts stand before them. Gateways splice in a second
`message_start`, leave stops out, and begin to count again: the latest block with an index is the one that is meant.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from resilient_llm.errors import ModelResponseInvalidError
from resilient_llm.events import Event, ReasoningDelta, TextDelta, ToolCallDelta

from .anthropic_response import decode_chat, finish_word
from .anthropic_shapes import (
    NO_CITATIONS,
    SAID,
    Answer,
    Block,
    Delta,
    StreamEvent,
    Tokens,
    read_event,
    stop_word,
)
from .messages import ANTHROPIC_CONTENT
from .payload import load_object, loads, object_of, says_error, stream_failure
from .sse import MAX_EVENT_BYTES
from .stream import EventStreamDecoder

if TYPE_CHECKING:
    from resilient_llm.models import Usage

_decode = msgspec.json.Decoder(StreamEvent).decode


@attrs.define(eq=False)
class _OpenBlock:
    """A block as far as it came.

    Args:
        kind: Its type.
        given: The block as it began.
        call: Its number among the calls; None if it is none.
        pieces: Its text, its thoughts, or its input's JSON.
        input: The input of a call that it began with, mostly an empty object.
    """

    kind: str
    given: dict[str, Any]
    call: int | None = None
    input: str = ""
    pieces: list[str] = attrs.field(factory=list)
    citations: list[Any] = attrs.field(factory=list)
    ended: bool = False

    def whole(self) -> dict[str, Any] | None:
        """The block as an answer in one piece would have held it; None for a call that was cut."""
        said = "".join(self.pieces)
        if self.kind in {"text", "thinking"}:
            self.given[self.kind] = said
        elif said:
            try:
                self.given["input"] = loads(said.encode("utf-8", "replace"))
            except ModelResponseInvalidError:
                return None
        elif self.call is not None and not self.ended:
            return None
        if self.citations:
            self.given["citations"] = self.citations
        return self.given


class ChatStreamDecoder(EventStreamDecoder[StreamEvent]):
    """Turns the bytes of one streamed answer into events; see `EventStreamDecoder`.

    Args:
        legacy: The caller knows functions but no tools: calls have no ids then.
        max_event_bytes: The longest event.
    """

    def __init__(self, *, legacy: bool = False, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        whole = partial(decode_chat, legacy=legacy)
        super().__init__(_decode, read_event, whole, max_event_bytes=max_event_bytes)
        self._legacy = legacy
        self._tokens = Tokens()
        self._ending_told = False
        self._calls = 0
        self._blocks: list[_OpenBlock] = []
        self._open: dict[int, _OpenBlock] = {}

    def _chunk(self, chunk: StreamEvent, data: bytes, events: list[Event]) -> None:
        delta = chunk.delta
        match chunk.type:
            case "content_block_delta" if delta is not None:
                self._piece(chunk.index, delta, events)
            case "content_block_start" if chunk.content_block is not None:
                self._begin(chunk.index, chunk.content_block, data, events)
            case "content_block_stop":
                self._end(chunk.index, events)
            case "message_start" if chunk.message is not None:
                self._head(chunk.message)
            case "message_delta":
                self._ending(chunk, events)
            case "message_stop":
                self._finish(events, marked=True)
            case "ping":
                pass
            case _:
                if chunk.error or says_error(object_of(loads(data))):
                    raise stream_failure(data)

    def _head(self, message: Answer) -> None:
        if not self.model:
            self.model = message.model or ""
            self.id = message.id or None
        if message.usage is not None:
            self._tokens = self._tokens.updated(message.usage)

    def _ending(self, chunk: StreamEvent, events: list[Event]) -> None:
        self._ending_told = True
        if chunk.usage is not None:
            self._tokens = self._tokens.updated(chunk.usage)
        reason = stop_word(chunk.delta.stop_reason) if chunk.delta is not None else None
        if reason is None:
            return
        self.finish_reason = finish_word(reason, legacy=self._legacy)
        if reason != "length":  # else a call that is open was cut
            for index in list(self._open):
                self._end(index, events)
        if any(block.kind not in SAID or block.citations for block in self._blocks):
            kept = [block.whole() for block in self._blocks]
            self.extra[ANTHROPIC_CONTENT] = [block for block in kept if block is not None]

    # Blocks ...

    def _begin(self, index: int, start: Block, data: bytes, events: list[Event]) -> None:
        self._end(index, events)
        if start.type is None or start.type == "text":
            block = self._text_block(index)
        else:
            given = dict(object_of(load_object(data).get("content_block")))
            block = self._opened(index, _OpenBlock(start.type, given))
            if start.type == "tool_use":
                block.call, block.input = self._calls, start.arguments
                self._calls += 1
                identity = "" if self._legacy else start.id or f"call_{block.call}"
                events.append(ToolCallDelta(block.call, identity, start.name or "", ""))
        self._piece(index, Delta(text=start.text, thinking=start.thinking), events)

    def _text_block(self, index: int) -> _OpenBlock:
        return self._opened(index, _OpenBlock("text", {"type": "text"}))

    def _opened(self, index: int, block: _OpenBlock) -> _OpenBlock:
        self._blocks.append(block)
        self._open[index] = block
        return block

    def _piece(self, index: int, delta: Delta, events: list[Event]) -> None:
        block = self._open.get(index)
        if block is None:  # a gateway left its start out
            block = self._text_block(index)
        kind = block.kind
        if kind == "text":
            if delta.text:
                block.pieces.append(delta.text)
                events.append(TextDelta(delta.text))
            if (citation := bytes(delta.citation)) not in NO_CITATIONS:
                block.citations.append(loads(citation))
        elif kind == "thinking":
            if delta.thinking:
                block.pieces.append(delta.thinking)
                events.append(ReasoningDelta(delta.thinking))
            if delta.signature is not None:
                block.given["signature"] = delta.signature
        elif delta.partial_json:
            block.pieces.append(delta.partial_json)
            if block.call is not None:
                events.append(ToolCallDelta(block.call, "", "", delta.partial_json))

    def _end(self, index: int, events: list[Event]) -> None:
        block = self._open.pop(index, None)
        if block is None:
            return
        block.ended = True
        if block.call is not None and not block.pieces:
            events.append(ToolCallDelta(block.call, "", "", block.input or "{}"))

    # The end ...

    def _usage(self) -> Usage | None:
        return self._tokens.told()

    def _names_no_reasons(self) -> bool:
        return not self._ending_told
