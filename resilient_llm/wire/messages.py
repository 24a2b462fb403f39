"""What rides on the messages of a conversation for one dialect alone, and is kept from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

ANTHROPIC_CONTENT: Final = "anthropic_content"
"""The blocks of an answer by Anthropic, where OpenAI's shape could not say all of them."""


def for_others(messages: object) -> object:
    """The messages without what only Anthropic understands, and others refuse; often the same list."""
    if type(messages) is not list and not isinstance(messages, Sequence):
        return messages
    for message in messages:
        if isinstance(message, dict) and ANTHROPIC_CONTENT in message:
            return [_without_mark(message) if isinstance(message, dict) else message for message in messages]
    return messages


def _without_mark(message: object) -> dict[object, object]:
    keys = cast("Mapping[object, object]", message).items()
    return {key: value for key, value in keys if key != ANTHROPIC_CONTENT}
