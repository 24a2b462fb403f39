"""Anthropic's messages, also as Vertex AI takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from resilient_llm.errors import ErrorCode
from resilient_llm.wire.anthropic_messages import encode_messages
from resilient_llm.wire.anthropic_stream import ChatStreamDecoder
from resilient_llm.wire.replay_anthropic import MessagesScript

from .dialect import MAX_ANSWER_BYTES, STATUSES, Spoken, besides, model_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.errors import LLMError
    from resilient_llm.http_call import Decoder
    from resilient_llm.request import Message
    from resilient_llm.wire.replay_parts import Script

    from .dialect import Head

PATHS: Final = ("/messages", ":rawPredict", ":streamRawPredict")
OVERLOADED: Final = 529
KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


@attrs.frozen
class _Origin:
    """Where a message stood: in which turn, and which of its blocks it is; a turn may be several messages."""

    turn: int
    blocks: tuple[int, ...] = ()


class AnthropicMessages:
    """`/messages`. Results of tools, which stand in a user's turn, are messages of their own to the stages."""

    def ask(self, head: Head, body: Mapping[str, Any]) -> Spoken | None:
        """The system's prompt is the first message; blocks stay what they are."""
        return self._asked(body) if head.path.endswith(PATHS) else None

    def _asked(self, body: Mapping[str, Any]) -> Spoken | None:
        turns = body.get("messages")
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            return None
        messages: list[Message] = []
        memory: dict[int, _Origin] = {}
        for place, turn in enumerate(turns):
            for message, origin in _messages(place, turn):
                messages.append(message)
                memory[id(message)] = origin
        if system := body.get("system"):
            messages.insert(0, {"role": "system", "content": system})
        return Spoken(
            dialect=self,
            body=body,
            operation="chat",
            messages=messages,
            model=model_of(body),
            stream=body.get("stream") is True,
            params=besides(body, "messages", "system"),
            memory=memory,
        )

    def said(self, spoken: Spoken, messages: Sequence[Message]) -> Mapping[str, Any]:
        """Turns that were there before as they came; where there is a new message, all are written anew."""
        memory: Mapping[int, _Origin] = spoken.memory
        rest = [message for message in messages if message is not spoken.messages[0] or id(message) in memory]
        if not all(id(message) in memory for message in rest):
            system, turns = encode_messages(messages)
            return {"messages": turns, **({"system": system} if system else {})}
        kept: dict[int, list[int]] = {}
        for message in rest:
            origin = memory[id(message)]
            kept.setdefault(origin.turn, []).extend(origin.blocks)
        given = spoken.body["messages"]
        return {"messages": [_part(given[place], blocks) for place, blocks in kept.items()]}

    def decoder(self, spoken: Spoken) -> Decoder:  # noqa: ARG002
        """The same for whole messages and streams."""
        return ChatStreamDecoder(max_event_bytes=MAX_ANSWER_BYTES)

    def script(self) -> Script | None:
        """Text is told again."""
        return MessagesScript()

    def refused(self, error: LLMError) -> tuple[int | None, bytes]:
        """In Anthropic's words; an overload has a status of its own."""
        status = STATUSES.get(error.code)
        if error.code is ErrorCode.MODEL_OVERLOADED:
            status = OVERLOADED
        detail = {"type": KINDS.get(status or 0, "api_error"), "message": str(error)}
        return status, msgspec.json.encode({"type": "error", "error": detail})


def _messages(place: int, turn: Mapping[str, Any]) -> list[tuple[Message, _Origin]]:
    content = turn.get("content")
    if turn.get("role") == "assistant" or not isinstance(content, list) or not any(map(_is_result, content)):
        return [(turn, _Origin(place))]
    results: list[tuple[Message, _Origin]] = []
    rest: list[int] = []
    for number, block in enumerate(content):
        if _is_result(block):
            message = {
                "role": "tool",
                "tool_call_id": str(block.get("tool_use_id", "")),
                "content": block.get("content") or "",
            }
            results.append((message, _Origin(place, (number,))))
        else:
            rest.append(number)
    if rest:
        said = {"role": "user", "content": [content[number] for number in rest]}
        results.append((said, _Origin(place, tuple(rest))))
    return results


def _is_result(block: object) -> bool:
    return isinstance(block, dict) and str(block.get("type", "")).endswith("tool_result")


def _part(turn: Mapping[str, Any], blocks: list[int]) -> Mapping[str, Any]:
    """A turn with those of its blocks that were kept; itself, if all were."""
    if not blocks or len(blocks) == len(turn["content"]):
        return turn
    return {**turn, "content": [turn["content"][number] for number in sorted(blocks)]}


MESSAGES = AnthropicMessages()
