"""What the events of Anthropic's messages say, for streams that are told again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .payload import int_of, object_of
from .replay_parts import BEYOND, Mark, Part, Place, Text, Unit

if TYPE_CHECKING:
    from .payload import Object


class MessagesScript:
    """Block by block. Only the head has an id, and the reader has the first one."""

    read: Place = ()

    def units(self, body: dict[str, Any]) -> list[Unit]:
        """What an event says."""
        return [Unit((), body, _parts(body))]

    def heard(self, body: dict[str, Any]) -> None:
        """Nothing to remember."""

    def rewrite(self, body: dict[str, Any], kept: list[Unit]) -> None:
        """The text is in its place already."""


def _parts(body: dict[str, Any]) -> tuple[Part, ...]:
    place = (int_of(body.get("index")) or 0,)
    match body.get("type"):
        case "ping":
            return ()
        case "message_start":
            return (Mark((), "start"),)
        case "content_block_start":
            return _begun(place, object_of(body.get("content_block")))
        case "content_block_delta":
            delta = body["delta"] = dict(object_of(body.get("delta")))
            if delta.get("type") == "text_delta" and isinstance(delta.get("text"), str):
                return (Text(place, delta, "text"),) if delta["text"] else ()
        case "content_block_stop":
            return (Mark(place, "stop"),)
    return (BEYOND,)


def _begun(place: tuple[int, ...], block: Object) -> tuple[Part, ...]:
    """An empty text is no more than a mark; other blocks hold something from the start."""
    kind = block.get("type")
    mark = Mark(place, "block", kind)
    plain = kind == "text" and not block.get("text") and not block.get("citations")
    return (mark,) if plain else (mark, BEYOND)
