"""A batch's bookkeeping: what a line asks, what is done, what is left. Pure: no files, no calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from zlib import crc32

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_llm.models import Message

CHATS: Final = "/chat/completions"
BEGINNING: Final = b'{"line": '
"""How every record begins."""

Turn: TypeAlias = Literal["ask", "done", "failed", "changed"]


class BrokenLineError(ValueError):
    """A line that asks nothing; the message says why."""


@attrs.frozen
class Question:
    """What a line asks.

    Args:
        prompt: A text, or messages.
        options: Keywords of the call.
        custom_id: The line's own name, if it has one.
    """

    prompt: str | list[Message]
    options: Mapping[str, Any] = attrs.field(factory=dict)
    custom_id: str | None = None


def read_question(line: bytes) -> Question:
    """What a line asks.

    Raises:
        BrokenLineError: It is none of the accepted forms.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        msg = "it is no JSON"
        raise BrokenLineError(msg) from None
    if isinstance(value, str):
        return Question(value)
    if not isinstance(value, dict):
        msg = "it must be a string or an object"
        raise BrokenLineError(msg)
    name = value.pop("custom_id", None)
    if name is not None and not isinstance(name, str):
        msg = "custom_id must be a string"
        raise BrokenLineError(msg)
    return _asked(_body(value) if "body" in value else value, name)


def _body(value: Mapping[str, Any]) -> dict[str, Any]:
    url = value.get("url", CHATS)
    if not isinstance(url, str) or not url.endswith(CHATS):
        msg = f"url must end in {CHATS}"
        raise BrokenLineError(msg)
    if not isinstance(value["body"], dict):
        msg = "body must be an object"
        raise BrokenLineError(msg)
    return dict(value["body"])


def _asked(fields: dict[str, Any], name: str | None) -> Question:
    if ("prompt" in fields) == ("messages" in fields):
        msg = "it must have either a prompt or messages"
        raise BrokenLineError(msg)
    if fields.pop("stream", False):
        msg = "stream is not for batches"
        raise BrokenLineError(msg)
    kind, what = (str, "a string") if "prompt" in fields else (list, "a list")
    key = "prompt" if kind is str else "messages"
    asked = fields.pop(key)
    if not isinstance(asked, kind):
        msg = f"{key} must be {what}"
        raise BrokenLineError(msg)
    fields.pop("stream_options", None)
    if "max_completion_tokens" in fields:
        fields.setdefault("max_tokens", None)  # instead of the settings' own limit
    return Question(asked, fields, name)


def mark_of(line: bytes) -> int:
    """What a line is recognised by when the batch goes on."""
    return crc32(line.strip())


def record(number: int, line: bytes, custom_id: str | None, result: Mapping[str, Any]) -> bytes:
    """An output line: the input's line number, mark and name, and the answer or the error."""
    fields = {"line": number, "mark": mark_of(line), "custom_id": custom_id, **result}
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


@attrs.define
class Ledger:
    """Which input lines have a record; of several for a line the last counts."""

    _marks: dict[int, int] = attrs.field(factory=dict)
    _failed: set[int] = attrs.field(factory=set)

    def note(self, line: bytes) -> bool:
        """Take note of an output line; False if it is no record."""
        try:
            value = json.loads(line)
            number, mark = value["line"], value["mark"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return False
        if type(number) is not int or type(mark) is not int:
            return False
        self._marks[number] = mark
        (self._failed.add if value.get("error") is not None else self._failed.discard)(number)
        return True

    def turn(self, number: int, line: bytes, *, retry_failed: bool) -> Turn:
        """What is to be done about an input line.

        `changed` is one that was answered when it asked something else; one that failed may be corrected.
        """
        known = self._marks.get(number)
        if known is None:
            return "ask"
        same = known == mark_of(line)
        if number in self._failed:
            return "failed" if same and not retry_failed else "ask"
        return "done" if same else "changed"
