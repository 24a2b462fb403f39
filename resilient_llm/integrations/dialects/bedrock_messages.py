"""Anthropic's messages as Amazon Bedrock takes them: path and frames are its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from resilient_llm.wire.bedrock_stream import ChatStreamDecoder

from .anthropic_messages import AnthropicMessages
from .dialect import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_llm.http_call import Decoder

    from .dialect import Head, Spoken

WHOLE: Final = "/invoke"
STREAMED: Final = "/invoke-with-response-stream"


class BedrockMessages(AnthropicMessages):
    """`/model/.../invoke` and its stream: the path says which model, and whether it is one."""

    def ask(self, head: Head, body: Mapping[str, Any]) -> Spoken | None:
        """Models of other makers have bodies without a version of Anthropic's."""
        if not head.path.endswith((WHOLE, STREAMED)) or "anthropic_version" not in body:
            return None
        asked = self._asked(body)
        return None if asked is None else attrs.evolve(asked, stream=head.path.endswith(STREAMED))

    def decoder(self, spoken: Spoken) -> Decoder:
        """Streams come in frames."""
        if spoken.stream:
            return ChatStreamDecoder(max_event_bytes=MAX_ANSWER_BYTES)
        return super().decoder(spoken)

    def script(self) -> None:
        """Frames are not told again."""


BEDROCK: Final = BedrockMessages()
