"""How many tokens a prompt has: the backend's own tokenizer where it has one, else the best local one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .pipeline import name_of
from .tokens import TokenTracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .models import Message
    from .pipeline import Transport

NO_SUCH_ROUTE = frozenset({404, 405, 501})
"""How a server answers that has no tokenizer to ask."""


async def count_tokens(transport: Transport, prompt: str | Sequence[Message], model: str) -> int:
    """The tokens of a text or a conversation; a tokenizer that should answer is asked once.

    Raises:
        LLMError: The backend has a tokenizer, but did not answer.
    """
    count = getattr(transport, "count_tokens", None)
    if count is not None:
        try:
            return int(await count(prompt))
        except Exception as exc:
            from .policy.classify_exception import classify_exception  # noqa: PLC0415 - not needed when all is well

            error = classify_exception(exc, name_of(transport))
            if error is exc:
                raise
            if error.status not in NO_SUCH_ROUTE:
                raise error from exc
    tracker = TokenTracker(model or "gpt-4o")
    if isinstance(prompt, str):
        return tracker.count_tokens(prompt)
    return tracker.count_conversation_tokens(prompt)
