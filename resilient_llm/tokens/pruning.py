"""Making a conversation fit: the newest whole turns that the budget holds, behind the leading instructions.

A turn is a user message and everything up to the next one, so calls and their results stay together. What
stands before the first user message (a greeting) is a turn of its own, the oldest. An Anthropic user message
that brings tool results belongs to the turn of the call. Two user messages in a row are two turns.

The walk goes from the newest message to the oldest and stops where the budget is used up: its cost is the
budget's, not the conversation's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NoReturn, Protocol

import attrs

from resilient_llm.errors import TokenLimitExceededError
from resilient_llm.models import PruneReport

from .costs import MalformedMessageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_llm.models import Message

_INSTRUCTIONS = frozenset({"system", "developer"})
_FEW = 64
_SAMPLE = 24
# Even, but in step with no pattern of turns: multiples of the golden ratio.
_SPREAD = [number * 0.6180339887498949 % 0.999 for number in range(_SAMPLE)]
_SMALL = 65_536


class Costs(Protocol):
    """What pruning asks of a counter; `ChatCounter` is one.

    The size of a conversation is `primer` and the sum of its messages' costs.
    """

    @property
    def exact(self) -> bool:
        """Are the costs counted with the model's own vocabulary?"""
        ...

    @property
    def primer(self) -> int:
        """What a conversation costs beside its messages."""
        ...

    def text(self, text: str, /) -> int:
        """A text's cost; 0 or more."""
        ...

    def message(self, message: Message, /) -> int:
        """A message's cost; 0 or more."""
        ...

    def bound(self, message: Message, /) -> int:
        """At least the message's cost, and cheap to get."""
        ...


@attrs.frozen
class Pruned:
    """A conversation that fits.

    Args:
        messages: The messages kept, the same objects in the same order, but for what a strategy changes.
        report: What was dropped; None if nothing was.
        tokens: Their size; None if it did not have to be counted because bytes prove that they fit.
    """

    messages: list[Message]
    report: PruneReport | None = None
    tokens: int | None = None


def prune(messages: Sequence[Message], budget: int, costs: Costs) -> Pruned:
    """The leading system and developer messages, and the longest tail of whole turns that fits beside them.

    The newest turn is always kept. The result never exceeds the budget, pruning it again changes nothing, and
    the input is left alone. An empty conversation stays empty.

    In the report `tokens_before` is counted if little was dropped (up to 64 messages and 64 KB), and
    otherwise estimated from a sample: counting what is thrown away would take longer than everything else.

    Args:
        messages: The conversation, oldest first.
        budget: The tokens that it may use, the primer included; definitions of tools must be taken off
            already.
        costs: The counter.

    Raises:
        TokenLimitExceededError: Not even the newest turn fits; the message says by how much,
            `context_requested` holds the tokens needed and `context_limit` the budget.
        MalformedMessageError: A message that had to be counted is malformed; the error names its index.
    """
    if not messages or fits_by_bytes(costs, messages, budget):
        return Pruned(list(messages))
    body = instructions(messages)
    head = costs.primer + sum_of(messages, range(body), costs)
    start, spent = longest_tail(messages, body, budget - head, costs)
    after = head + spent
    if after > budget:
        refuse(after, budget)
    if start == body:
        return Pruned(list(messages), tokens=after)
    before = after + dropped_tokens(messages, range(body, start), range(start, len(messages)), spent, costs)
    report = PruneReport(start - body, before, after, budget, costs.exact)
    return Pruned([*messages[:body], *messages[start:]], report, after)


def fits_by_bytes(costs: Costs, messages: Sequence[Message], budget: int) -> bool:
    """Do the messages' upper bounds alone prove that they fit? Stops where they no longer do."""
    total = costs.primer
    for index, message in enumerate(messages):
        total += located(costs.bound, message, index)
        if total > budget:
            return False
    return total <= budget


def located(cost: Callable[[Message], int], message: Message, index: int) -> int:
    """The message's cost; of a malformed message the error names the index."""
    try:
        return cost(message)
    except MalformedMessageError as error:
        raise error.at(index) from None


def starts_turn(message: object) -> bool:
    """Does the message begin a user's turn?"""
    if not isinstance(message, Mapping) or message.get("role") != "user":
        return False
    content = message.get("content")
    return not (isinstance(content, list | tuple) and any(map(_is_result, content)))


def _is_result(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "tool_result"


def instructs(message: object) -> bool:
    """Is it a system or developer message?"""
    return isinstance(message, Mapping) and message.get("role") in _INSTRUCTIONS


def instructions(messages: Sequence[Message]) -> int:
    """How many system and developer messages lead the conversation."""
    return sum(1 for _ in takewhile(instructs, messages))


def newest_turn(messages: Sequence[Message], body: int) -> range:
    """Where the newest turn stands, behind `body` instructions."""
    start = len(messages) - 1
    while start > body and not starts_turn(messages[start]):
        start -= 1
    return range(max(start, body), len(messages))


def least(messages: Sequence[Message]) -> list[Message]:
    """What is always kept: the instructions and the newest turn."""
    body = instructions(messages)
    return [*messages[:body], *(messages[index] for index in newest_turn(messages, body))]


def sum_of(messages: Sequence[Message], where: range, costs: Costs) -> int:
    """The messages' cost."""
    return sum(located(costs.message, messages[index], index) for index in where)


def longest_tail(messages: Sequence[Message], body: int, room: int, costs: Costs) -> tuple[int, int]:
    """Where the longest tail that fits begins, at `body` or later, and its cost.

    The newest turn even if it does not fit.
    """
    start, kept, spent = len(messages), 0, 0
    for index in range(len(messages) - 1, body - 1, -1):
        spent += located(costs.message, messages[index], index)
        has_newest = start < len(messages)
        if has_newest and spent > room:
            break
        if index == body or starts_turn(messages[index]):
            start, kept = index, spent
            if spent > room:
                break
    return start, kept


def dropped_tokens(messages: Sequence[Message], dropped: range, kept: range, spent: int, costs: Costs) -> int:
    """The size of what was dropped: counted if that is little, else from its bytes at the kept ones' ratio.

    Args:
        messages: The conversation.
        dropped: Where the dropped messages stand.
        kept: Where those stand whose size is known.
        spent: That size.
        costs: The counter.
    """
    size = _bounds(messages, dropped, costs)
    if len(dropped) <= _FEW and size <= _SMALL:
        return sum_of(messages, dropped, costs)
    return round(size * spent / max(_bounds(messages, kept, costs), 1))


def _bounds(messages: Sequence[Message], where: range, costs: Costs) -> float:
    """The sum of the messages' upper bounds, of many from an even sample."""
    sample = where if len(where) <= _SAMPLE else [where[int(len(where) * share)] for share in _SPREAD]
    total = sum(located(costs.bound, messages[index], index) for index in sample)
    return total * len(where) / max(len(sample), 1)


def refuse(needed: int, budget: int) -> NoReturn:
    """Say by how much the least that must be kept is too long."""
    msg = (
        f"the newest turn and the system messages need {needed} tokens, "
        f"{needed - budget} more than the budget of {budget}"
    )
    raise TokenLimitExceededError(msg, context_limit=budget, context_requested=needed)
