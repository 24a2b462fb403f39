"""Ways to make a conversation fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import attrs

from resilient_llm.models import PruneReport

from .pruning import (
    Pruned,
    dropped_tokens,
    fits_by_bytes,
    instructions,
    longest_tail,
    prune,
    starts_turn,
    sum_of,
)
from .shortening import ShortenResults

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resilient_llm.models import Message

    from .pruning import Costs

StrategyName: TypeAlias = Literal["oldest_first", "keep_first_turn", "shorten_results"]


class Strategy(Protocol):
    """A way to make a conversation fit.

    Whatever it drops: the leading system and developer messages and the newest turn stay, calls and their results
    stay together, the first message behind the instructions is a user's, the result fits, pruning it again changes
    nothing, and the input is left alone.
    """

    def prune(self, messages: Sequence[Message], budget: int, costs: Costs) -> Pruned:
        """What to send instead; see `resilient_llm.tokens.prune` for arguments and errors."""
        ...


@attrs.frozen
class OldestFirst:
    """Drop the oldest turns: the longest tail that fits is kept."""

    def prune(self, messages: Sequence[Message], budget: int, costs: Costs) -> Pruned:
        """See `resilient_llm.tokens.prune`."""
        return prune(messages, budget, costs)


@attrs.frozen
class KeepFirstTurn:
    """Keep the first user turn as well, where the task is often told; drop the oldest of the others.

    If the newest turn does not fit beside it, the first one goes like any other.
    """

    def prune(self, messages: Sequence[Message], budget: int, costs: Costs) -> Pruned:
        """See `resilient_llm.tokens.prune`."""
        body = instructions(messages)
        first = _next_turn(messages, body)
        end = _next_turn(messages, first + 1)
        if end >= len(messages) or fits_by_bytes(costs, messages, budget):
            return prune(messages, budget, costs)
        pinned = (
            costs.primer + sum_of(messages, range(body), costs) + sum_of(messages, range(first, end), costs)
        )
        start, spent = longest_tail(messages, end, budget - pinned, costs)
        after = pinned + spent
        if after > budget:
            return prune(messages, budget, costs)
        size = sum_of(messages, range(body, first), costs)
        if start > end:
            size += dropped_tokens(messages, range(end, start), range(start, len(messages)), spent, costs)
        elif after + size <= budget:
            return Pruned(list(messages), tokens=after + size)
        kept = [*messages[:body], *messages[first:end], *messages[start:]]
        report = PruneReport(len(messages) - len(kept), after + size, after, budget, costs.exact)
        return Pruned(kept, report, after)


def _next_turn(messages: Sequence[Message], index: int) -> int:
    """Where the next user turn begins, at the index or behind it; the end if there is none."""
    while index < len(messages) and not starts_turn(messages[index]):
        index += 1
    return index


_NAMED: Final[Mapping[str, Strategy]] = {
    "oldest_first": OldestFirst(),
    "keep_first_turn": KeepFirstTurn(),
    "shorten_results": ShortenResults(),
}


def strategy_of(strategy: StrategyName | Strategy) -> Strategy:
    """A strategy by its name, or as it is.

    Raises:
        ValueError: There is none of that name.
    """
    if isinstance(strategy, str):
        if strategy not in _NAMED:
            msg = f"strategy must be one of {', '.join(sorted(_NAMED))} or have a method prune, not {strategy!r}"
            raise ValueError(msg)
        return _NAMED[strategy]
    if not callable(getattr(strategy, "prune", None)):
        msg = f"strategy must be one of {', '.join(sorted(_NAMED))} or have a method prune, not {strategy!r}"
        raise TypeError(msg)
    return strategy
