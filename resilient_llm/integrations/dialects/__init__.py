"""From the bytes of a call to what the stages see, and back.

One module for each dialect; the table below is asked in its order. To add one: write a module with an object as
`Dialect` says, whose decoder comes from `wire/`, and put it into the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from .anthropic_messages import MESSAGES
from .bedrock_messages import BEDROCK
from .dialect import Dialect, Head, Spoken, model_in
from .openai_chat import CHAT
from .openai_embeddings import EMBEDDINGS
from .openai_responses import RESPONSES
from .raw import RAW

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DIALECTS", "Dialect", "Head", "Spoken", "understand"]

DIALECTS: Final[tuple[Dialect, ...]] = (CHAT, MESSAGES, RESPONSES, EMBEDDINGS, BEDROCK)

SIGNED: Final = "AWS4-HMAC-SHA256"
"""How the authorization of a body begins that must not be changed."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def understand(method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Spoken:
    """What a call asks for. What nobody knows is `"raw"`; of what is signed no stage sees the messages.

    Args:
        method: In capitals.
        path: The URL's path, without its query.
        headers: Looked up in lower case.
        body: None if it cannot be looked into, nor sent twice.
    """
    head = Head(method, path, headers)
    fields = _json(head, body)
    spoken = (
        next((asked for dialect in DIALECTS if (asked := dialect.ask(head, fields))), None)
        if fields
        else None
    )
    if spoken is None:
        spoken = RAW.ask(head, fields or {})
    if model := model_in(path):
        spoken = attrs.evolve(spoken, model=spoken.model or model, fixed=("model",))
    if headers.get("authorization", "").startswith(SIGNED):
        spoken = attrs.evolve(spoken, messages=(), fixed=("body",))
    return spoken if body is not None else attrs.evolve(spoken, repeatable=False)


def _json(head: Head, body: bytes | None) -> dict[str, Any] | None:
    if not body or head.method != "POST" or "json" not in head.headers.get("content-type", "json"):
        return None
    try:
        return _decode(body)
    except (ValueError, RecursionError):
        return None
