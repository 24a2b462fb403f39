"""What a request asks for, read alike from the bodies of all dialects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    Body = Mapping[str, Any]

MESSAGE_OVERHEAD = 4
BYTES_PER_TOKEN = 4


def messages(body: Body) -> list[Body]:
    """The messages: a system prompt beside them first; a prompt or an input that is a text is one, texts are several.

    Raises:
        TypeError: They are no messages.
    """
    told = body.get("messages", body.get("input", body.get("prompt")))
    if isinstance(told, str):
        told = [{"content": told}]
    elif "messages" not in body:
        told = [item if isinstance(item, Mapping) else {"content": str(item)} for item in told or ()]
    system = body.get("system") or body.get("instructions")
    found = [{"content": system}, *(told or ())] if system else list(told or ())
    if not all(isinstance(message, Mapping) for message in found):
        msg = "the messages are no objects"
        raise TypeError(msg)
    return found


def newest(body: Body) -> str:
    """The text of the newest message."""
    found = messages(body)
    return text_of(found[-1].get("content")) if found else ""


def count(body: Body) -> int:
    """A request's size: a token for each four bytes of text begun, and four for each message."""
    return sum(MESSAGE_OVERHEAD + tokens(text_of(message.get("content"))) for message in messages(body))


def tokens(text: str) -> int:
    """A text's size: a token for each four bytes begun."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def asked_for(body: Body) -> int:
    """The tokens asked for as answer, which the window must hold too."""
    options = body.get("options") or {}
    asked = (
        body.get("max_completion_tokens")
        or body.get("max_tokens")
        or body.get("max_output_tokens")
        or (options.get("num_predict") if isinstance(options, Mapping) else 0)
    )
    return asked if isinstance(asked, int) and asked > 0 else 0


def inputs(body: Body) -> Sequence[str]:
    """The texts to embed; tokens are taken for a text.

    Raises:
        TypeError: There are none.
    """
    told = body.get("input")
    if isinstance(told, str):
        return [told]
    if not isinstance(told, list) or not told:
        msg = "the input is no text and no list"
        raise TypeError(msg)
    if isinstance(told[0], int):
        return [str(told)]
    return [text if isinstance(text, str) else str(text) for text in told]


def text_of(content: object) -> str:
    """The text of a content: a string, or parts that hold texts or results of tools."""
    if isinstance(content, list):
        return "".join(
            text_of(part.get("text", part.get("content"))) for part in content if isinstance(part, Mapping)
        )
    return content if isinstance(content, str) else ""
