"""OpenAI's chat completions, of everyone who claims compatibility."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient_llm.wire.openai_choices import ChoicesDecoder
from resilient_llm.wire.openai_stream import ChatStreamDecoder
from resilient_llm.wire.replay_openai import ChatScript

from .dialect import MAX_ANSWER_BYTES, Spoken, besides, model_of, openai_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.errors import LLMError
    from resilient_llm.http_call import Decoder
    from resilient_llm.request import Message
    from resilient_llm.wire.replay_parts import Script

    from .dialect import Head


class OpenAIChat:
    """`/chat/completions`."""

    def ask(self, head: Head, body: Mapping[str, Any]) -> Spoken | None:
        """The messages are the stages' own shape."""
        messages = body.get("messages")
        if not head.path.endswith("/chat/completions") or not isinstance(messages, list):
            return None
        return Spoken(
            dialect=self,
            body=body,
            operation="chat",
            messages=messages,
            model=model_of(body),
            stream=body.get("stream") is True,
            params=besides(body, "messages"),
        )

    def said(self, spoken: Spoken, messages: Sequence[Message]) -> Mapping[str, Any]:  # noqa: ARG002
        """As they are."""
        return {"messages": list(messages)}

    def decoder(self, spoken: Spoken) -> Decoder:
        """Several choices are observed as far as they end; the first one is read."""
        choices = spoken.body.get("n")
        if isinstance(choices, int) and choices > 1:
            return ChoicesDecoder(choices, max_event_bytes=MAX_ANSWER_BYTES)
        return ChatStreamDecoder(max_event_bytes=MAX_ANSWER_BYTES)

    def script(self) -> Script:
        """Text is told again."""
        return ChatScript()

    def refused(self, error: LLMError) -> tuple[int | None, bytes]:
        """In OpenAI's words."""
        return openai_refusal(error)


CHAT = OpenAIChat()
