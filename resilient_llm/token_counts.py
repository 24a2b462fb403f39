"""How many tokens a prompt has: the backend's own tokenizer where it has one, else the best local one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import ModelInvalidRequestError
from .pipeline import name_of
from .tokens import TokenTracker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .models import Message
    from .pipeline import Transport

NO_SUCH_ROUTE = frozenset({404, 405, 501})
"""How a server answers that has no tokenizer to ask."""


async def count_tokens(
    transport: Transport,
    prompt: str | Sequence[Message],
    *,
    asked: str | None,
    usual: str,
    tools: Sequence[Mapping[str, Any]] | None,
) -> int:
    """The tokens of a text or a conversation; a tokenizer that should answer is asked once.

    Args:
        transport: Who may have a tokenizer; see `resilient_llm.tokens.Tokenizer`.
        prompt: A text or messages.
        asked: The model that the caller named, if any.
        usual: The client's own model.
        tools: The functions offered.

    Raises:
        LLMError: The backend has a tokenizer, but did not answer; or the prompt is malformed.
    """
    told = ({"model": asked} if asked else {}) | ({"tools": tools} if tools else {})
    count = getattr(transport, "count_tokens", None)
    if count is not None:
        try:
            return int(await count(prompt, **told))
        except Exception as exc:
            from .policy.classify_exception import classify_exception  # noqa: PLC0415 - not needed when all is well

            error = classify_exception(exc, name_of(transport))
            if error is exc:
                raise
            if error.status not in NO_SUCH_ROUTE:
                raise error from exc
    tracker = TokenTracker(asked or usual)
    if isinstance(prompt, str):
        return tracker.count_tokens(prompt)
    try:
        return tracker.count_conversation_tokens(prompt, tools)
    except TypeError as exc:
        raise ModelInvalidRequestError(str(exc), model=tracker.model) from exc
