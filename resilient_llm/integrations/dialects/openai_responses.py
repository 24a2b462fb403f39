"""OpenAI's Responses API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resilient_llm.wire.openai_responses import ResponseStreamDecoder
from resilient_llm.wire.replay_responses import ResponsesScript

from .dialect import MAX_ANSWER_BYTES, Spoken, besides, model_of, openai_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.errors import LLMError
    from resilient_llm.http_call import Decoder
    from resilient_llm.request import Message
    from resilient_llm.wire.replay_parts import Script

    from .dialect import Head

RENAMED: Final = {"max_tokens": "max_output_tokens"}
RESULTS: Final = "_output"
"""What the types of items end with that answer a call."""


class OpenAIResponses:
    """`/responses`: its items are the messages, its instructions the system's."""

    def ask(self, head: Head, body: Mapping[str, Any]) -> Spoken | None:
        """Items that are no messages belong to the turn that they stand in."""
        if not head.path.endswith("/responses") or not ({"input", "prompt", "model"} & body.keys()):
            return None
        native = _native(body)
        messages = [_message(item) for item in native]
        memory = {id(message): item for message, item in zip(messages, native, strict=True)}
        if isinstance(instructions := body.get("instructions"), str):
            messages.insert(0, {"role": "system", "content": instructions})
        params = besides(body, "input", "instructions")
        if "max_output_tokens" in params:
            params["max_tokens"] = params.pop("max_output_tokens")
        return Spoken(
            dialect=self,
            body=body,
            operation="chat" if messages else "raw",
            messages=messages,
            model=model_of(body),
            stream=body.get("stream") is True,
            params=params,
            renamed=RENAMED,
            memory=memory,
        )

    def said(self, spoken: Spoken, messages: Sequence[Message]) -> Mapping[str, Any]:
        """Items that were there before as they came, others made of their messages."""
        memory: Mapping[int, Any] = spoken.memory
        rest = list(messages)
        fields: dict[str, Any] = {}
        if "instructions" in spoken.body and rest and rest[0].get("role") == "system":
            fields["instructions"] = rest.pop(0).get("content")
        fields["input"] = [
            item
            for message in rest
            for item in ([memory[id(message)]] if id(message) in memory else _items(message))
        ]
        return fields

    def decoder(self, spoken: Spoken) -> Decoder:  # noqa: ARG002
        """The same for whole responses and streams."""
        return ResponseStreamDecoder(max_event_bytes=MAX_ANSWER_BYTES)

    def script(self) -> Script:
        """Text is told again."""
        return ResponsesScript()

    def refused(self, error: LLMError) -> tuple[int | None, bytes]:
        """In OpenAI's words."""
        return openai_refusal(error)


def _native(body: Mapping[str, Any]) -> list[Any]:
    given = body.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if isinstance(given, list) and all(isinstance(item, dict) for item in given):
        return list(given)
    return []


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as a message, for stages to count and drop."""
    kind = str(item.get("type") or "message")
    if kind == "message":
        return {"role": item.get("role", "user"), "content": item.get("content")}
    if kind.endswith(RESULTS):
        output = item.get("output")
        content = output if isinstance(output, str | list) else str(output)
        return {"role": "tool", "tool_call_id": item.get("call_id", ""), "content": content}
    if kind == "function_call":
        function = {"name": item.get("name", ""), "arguments": item.get("arguments", "")}
        call = {"id": item.get("call_id", ""), "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    return {"role": "assistant", "content": ""}


def _items(message: Message) -> list[Any]:
    """A message that a stage made, as items."""
    if message.get("role") == "tool":
        call = message.get("tool_call_id")
        return [{"type": "function_call_output", "call_id": call, "output": message.get("content")}]
    items: list[Any] = []
    if message.get("content"):
        items.append({"role": message.get("role"), "content": message.get("content")})
    calls = message.get("tool_calls") or ()
    return items + [
        {"type": "function_call", "call_id": call.get("id"), **call.get("function", {})} for call in calls
    ]


RESPONSES = OpenAIResponses()
