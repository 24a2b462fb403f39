"""What the events of OpenAI's Responses API say, for streams that are told again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .payload import int_of, object_of, objects_of
from .replay_parts import BEYOND, Mark, Part, Place, Text, Unit

if TYPE_CHECKING:
    from .payload import Object

HEADS: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
TEXTS: Final = {"response.output_text": 0, "response.refusal": 1}
"""What the names of a text's events begin with, and its place in its part."""

PARTS: Final = ("output_text", "refusal")
WHOLE: Final = ("text", "refusal")
ITEMS: Final = ("message", "reasoning")
"""Kinds of items that may be nothing but a mark: that the model has thought, and not what, is one."""

CONTENT: Final = ("content", "summary", "encrypted_content")


class ResponsesScript:
    """Item by item, part by part.

    The response and the items that the reader has begun to read keep the ids of the first stream, for a response whose
    id changes is refused by the SDK's helpers. The numbers of events go on.
    """

    read: Place = ()

    def __init__(self) -> None:
        self._response: Any = None
        self._ids: dict[int, Any] = {}
        self._number: int | None = None

    def units(self, body: dict[str, Any]) -> list[Unit]:
        """What an event says."""
        return [Unit((), body, _parts(body))]

    def heard(self, body: dict[str, Any]) -> None:
        """The response's id, the items' ids, and how many events there were."""
        self._response = self._response or object_of(body.get("response")).get("id")
        if body.get("type") == "response.output_item.added":
            self._ids[_item_of(body)] = object_of(body.get("item")).get("id")
        number = int_of(body.get("sequence_number"))
        self._number = self._number if number is None else number

    def rewrite(self, body: dict[str, Any], kept: list[Unit]) -> None:  # noqa: ARG002 - an event is one unit
        """Ids and the number."""
        if self._number is not None and "sequence_number" in body:
            self._number += 1
            body["sequence_number"] = self._number
        identity = self._ids.get(_item_of(body))
        if identity is not None and "item_id" in body:
            body["item_id"] = identity
        if identity is not None and "item" in body:
            body["item"] = {**object_of(body["item"]), "id": identity}
        if self._response is not None and "response" in body:
            body["response"] = self._same(object_of(body["response"]))

    def _same(self, response: Object) -> Object:
        """A response with the ids of the first."""
        items = [
            {**item, "id": self._ids[index]} if self._ids.get(index) is not None else item
            for index, item in enumerate(objects_of(response.get("output")))
        ]
        return {**response, "id": self._response, **({"output": items} if items else {})}


def _item_of(body: Object) -> int:
    number = int_of(body.get("output_index"))
    return -1 if number is None else number


def _parts(body: dict[str, Any]) -> tuple[Part, ...]:
    name = str(body.get("type"))
    if name in HEADS:
        return (Mark((), name),)
    kind, _, what = name.rpartition(".")
    item = (_item_of(body),)
    part = (*item, int_of(body.get("content_index")) or 0)
    if kind in TEXTS:
        return _text(body, (*part, TEXTS[kind]), what)
    if kind == "response.output_item":
        return _item(item, object_of(body.get("item")), what)
    if kind == "response.content_part":
        return _part(part, object_of(body.get("part")), what)
    return (BEYOND,)


def _text(body: dict[str, Any], place: Place, what: str) -> tuple[Part, ...]:
    more = (BEYOND,) if body.get("logprobs") else ()
    if what == "done":
        whole = next((body[name] for name in WHOLE if name in body), None)
        return (Mark(place, "text done", whole), *more)
    if what != "delta" or not isinstance(body.get("delta"), str):
        return (BEYOND,)
    return (Text(place, body, "delta"), *more) if body["delta"] else more


def _item(place: Place, item: Object, what: str) -> tuple[Part, ...]:
    """It is added empty. At its end a message is what its parts were; of other items nothing was shown."""
    kind = item.get("type")
    bare = kind in ITEMS and not any(item.get(name) for name in CONTENT)
    mark = Mark(place, f"item {what}", kind)
    return (mark,) if bare or (what == "done" and kind == "message") else (mark, BEYOND)


def _part(place: Place, part: Object, what: str) -> tuple[Part, ...]:
    kind = part.get("type")
    empty = not any(part.get(name) for name in (*WHOLE, "annotations"))
    mark = Mark(place, f"part {what}", kind)
    return (mark,) if kind in PARTS and (empty or what == "done") else (mark, BEYOND)
