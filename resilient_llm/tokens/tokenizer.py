"""What offers a backend's own count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.models import Message


class Tokenizer(Protocol):
    """A backend that counts with its own tokenizer; several transports are one."""

    async def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str = "",
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """The tokens of a text, or of a conversation with the model's own chat template and its tools.

        Args:
            prompt: A text, or messages.
            model: The model to count for; empty leaves it to the backend.
            tools: The functions offered, in OpenAI's shape.
        """
        ...
