"""What OpenAI's chat chunks say, for streams that are told again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .payload import int_of, object_of, objects_of
from .replay_parts import BEYOND, Mark, Part, Place, Text, Unit

if TYPE_CHECKING:
    from .payload import Object

TEXTS: Final = ("content", "refusal")
IDENTITY: Final = ("id", "created")
"""What all chunks of a stream have in common."""


class ChatScript:
    """Each choice by itself; the chunks of the second stream get the id and the time of the first."""

    read: Place = (0,)

    def __init__(self) -> None:
        self._identity: dict[str, Any] = {}

    def units(self, body: dict[str, Any]) -> list[Unit]:
        """The choices of a chunk; a chunk without any (usage) belongs to all."""
        choices = objects_of(body.get("choices"))
        return [_unit(dict(choice)) for choice in choices] or [Unit((), body)]

    def heard(self, body: dict[str, Any]) -> None:
        """The first chunk's identity counts."""
        if not self._identity:
            self._identity = {name: body[name] for name in IDENTITY if name in body}

    def rewrite(self, body: dict[str, Any], kept: list[Unit]) -> None:
        """Only the choices that say something new."""
        if body.get("choices"):
            body["choices"] = [unit.body for unit in kept]
        body.update(self._identity)


def _unit(choice: dict[str, Any]) -> Unit:
    index = int_of(choice.get("index")) or 0
    choice["delta"] = delta = dict(object_of(choice.get("delta")))
    parts: list[Part] = []
    if delta.get("role"):
        parts.append(Mark((index,), "role", delta["role"], holder=delta))
    for number, name in enumerate(TEXTS):
        if delta.get(name) and isinstance(delta[name], str):
            parts.append(Text((index, number), delta, name))
    if _says_more(choice, delta):
        parts.append(BEYOND)
    if choice.get("finish_reason"):
        parts.append(Mark((index,), "finish_reason", choice["finish_reason"]))
    return Unit((index,), choice, tuple(parts))


def _says_more(choice: Object, delta: Object) -> bool:
    """Reasoning, tool calls, audio, probabilities: anything beside text."""
    return bool(choice.get("logprobs")) or any(
        value and name != "role" and not (name in TEXTS and isinstance(value, str))
        for name, value in delta.items()
    )
