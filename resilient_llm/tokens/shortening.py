"""Shortening long tool results before turns are dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from resilient_llm.models import PruneReport
from resilient_llm.validators import count as whole_number

from .pruning import (
    Pruned,
    dropped_tokens,
    fits_by_bytes,
    instructions,
    located,
    newest_turn,
    refuse,
    starts_turn,
    sum_of,
)

if TYPE_CHECKING:
    from resilient_llm.models import Message

    from .pruning import Costs

Shorten: TypeAlias = Callable[[str], str]

_LEAST: Final = 32


def _enough(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    whole_number(instance, attribute, value)
    if value < _LEAST:
        msg = f"{attribute.name} must be {_LEAST} or more, not {value!r}"
        raise ValueError(msg)


@attrs.frozen
class ShortenResults:
    """Shorten long tool results to their beginning and end, the oldest first, before turns are dropped.

    The newest turn's results are shortened only if it would not fit otherwise. Shortened messages are copies; a
    result that was JSON is none any more, but says so. Other messages are kept or dropped as they are.

    Args:
        tokens: How long a result's text may be once it is shortened; 32 or more. Shorter ones stay as they are.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is below 32.
    """

    tokens: int = attrs.field(default=256, validator=_enough)

    def prune(self, messages: Sequence[Message], budget: int, costs: Costs) -> Pruned:
        """See `resilient_llm.tokens.prune`."""
        if not messages or fits_by_bytes(costs, messages, budget):
            return Pruned(list(messages))
        body = instructions(messages)
        head = costs.primer + sum_of(messages, range(body), costs)
        tail = _Tail(messages, costs, self.tokens, budget - head)
        start = tail.take(newest_turn(messages, body))
        after = head + tail.spent
        if after > budget:
            refuse(after, budget)
        start = tail.take(tail.older_turns(body, start))
        after = head + tail.spent
        shortened = sum(
            kept is not message for kept, message in zip(tail.kept, messages[start:], strict=True)
        )
        if start == body and not shortened:
            return Pruned(list(messages), tokens=after)
        whole = tail.spent + tail.saved
        dropped = dropped_tokens(messages, range(body, start), range(start, len(messages)), whole, costs)
        report = PruneReport(start - body, head + whole + dropped, after, budget, costs.exact, shortened)
        return Pruned([*messages[:body], *tail.kept], report, after)


class _Tail:
    """The messages kept so far, from the newest backwards; each as it is, or shortened.

    Attributes:
        kept: The messages, in order.
        spent: What they cost.
        saved: What the shortened ones among them would cost more as they were.
    """

    def __init__(self, messages: Sequence[Message], costs: Costs, tokens: int, room: int) -> None:
        self.kept: list[Message] = []
        self.spent = 0
        self.saved = 0
        self._messages = messages
        self._costs = costs
        self._tokens = tokens
        self._room = room

    def take(self, where: range) -> int:
        """Put these in front, shortened where they must be: the newest are the first to be left whole."""
        options = [self._both(index) for index in where]
        self.spent += sum(cost for _, cost, _ in options)
        chosen = [short for short, _, _ in options]
        for place in range(len(options) - 1, -1, -1):
            extra = options[place][2]
            if self.spent + extra > self._room:
                self.saved += sum(extra for _, _, extra in options[: place + 1])
                break
            chosen[place] = self._messages[where[place]]
            self.spent += extra
        self.kept = chosen + self.kept
        return where.start

    def older_turns(self, body: int, end: int) -> range:
        """The whole turns before `end` that fit beside what was taken, if their results are shortened."""
        spent, start = self.spent, end
        for index in range(end - 1, body - 1, -1):
            spent += self._both(index)[1]
            if spent > self._room:
                break
            if index == body or starts_turn(self._messages[index]):
                start = index
        return range(start, end)

    def _both(self, index: int) -> tuple[Message, int, int]:
        """The message shortened, what that costs, and what it would cost more as it is."""
        message = self._messages[index]
        full = located(self._costs.message, message, index)
        short = shortened(message, lambda text: shorten(text, self._tokens, self._costs.text))
        if short is message:
            return message, full, 0
        cost = self._costs.message(short)
        return (short, cost, full - cost) if cost < full else (message, full, 0)


def shortened(message: Message, shorten: Shorten) -> Message:
    """A copy with the texts of its tool results shortened; the message itself if there is nothing to shorten."""
    content = message.get("content")
    if message["role"] in {"tool", "function"}:
        short = _content(content, shorten)
    elif isinstance(content, list | tuple):
        short = _each(content, lambda part: _result(part, shorten))
    else:
        return message
    return message if short is content else {**message, "content": short}


def _content(content: object, shorten: Shorten) -> object:
    if isinstance(content, str):
        short = shorten(content)
        return short if len(short) < len(content) else content
    if isinstance(content, list | tuple):
        return _each(content, lambda part: _with(part, "text", shorten))
    return content


def _result(part: object, shorten: Shorten) -> object:
    if isinstance(part, Mapping) and str(part.get("type", "")).endswith("tool_result"):
        return _with(part, "content", shorten)
    return part


def _with(part: object, field: str, shorten: Shorten) -> object:
    """The part with this field shortened; the same object if nothing changes."""
    if not isinstance(part, Mapping):
        return part
    short = _content(part.get(field), shorten)
    return part if short is part.get(field) else {**part, field: short}


def _each(parts: Sequence[object], change: Callable[[object], object]) -> Sequence[object]:
    changed = [change(part) for part in parts]
    return parts if all(new is old for new, old in zip(changed, parts, strict=True)) else changed


def shorten(text: str, tokens: int, count: Callable[[str], int]) -> str:
    """A text of at most so many tokens: the beginning and the end, and between them what was left out.

    Args:
        text: The text.
        tokens: The most; 32 or more, which the note between them takes.
        count: Counts a text.
    """
    total = count(text)
    if total <= tokens:
        return text
    keep = len(text) * tokens // total
    while True:
        head, tail = keep - keep // 3, keep // 3
        note = f"\n[... {len(text) - keep} of {len(text)} characters left out ...]\n"
        short = text[:head] + note + text[len(text) - tail :]
        if not keep or count(short) <= tokens:
            return short
        keep = keep * 3 // 4
