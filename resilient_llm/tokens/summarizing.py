"""A summary in the place of what is dropped."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from resilient_llm.errors import TokenLimitExceededError
from resilient_llm.models import Message
from resilient_llm.validators import count as whole_number

from .pruning import Pruned, instructions, prune
from .shortening import shorten

if TYPE_CHECKING:
    from .pruning import Costs

HEADING: Final = "Summary of the earlier conversation:\n"
"""How the text of a summary begins; by it an earlier one is known again."""

Summary: TypeAlias = str | Message | None
Summarizer: TypeAlias = Callable[[list[Message]], Summary | Awaitable[Summary]]
"""Takes the messages that are dropped, oldest first; gives a text, a whole message, or None for no summary."""


@attrs.frozen
class Summarize:
    """Drop the oldest turns and put a summary in their place, which a function of the caller's writes.

    The function is called once for each call that is pruned, so it should remember what it wrote. It may be a plain
    function, which holds up the event loop while it works, or return an awaitable; the call's deadline goes on. If
    it raises an `LLMError`, the call goes on without a summary; other exceptions are the caller's. A summary that
    an earlier call was given is among the messages to summarize, so that summaries do not pile up.

    Args:
        function: Writes the summary.
        tokens: How many to keep free for it; a longer text is shortened, a longer message is left out.
        role: Whose message a text becomes. It stands behind the leading instructions; use `"user"` where the
            system prompt is not in the list, as in Anthropic's shape.
    """

    function: Summarizer = attrs.field(validator=attrs.validators.is_callable())
    tokens: int = attrs.field(default=512, validator=whole_number)
    role: Literal["system", "user"] = attrs.field(
        default="system", validator=attrs.validators.in_(("system", "user"))
    )

    def prune(self, messages: Sequence[Message], budget: int, costs: Costs) -> Pruned:
        """What to keep, with room for the summary; without, if the newest turn leaves none."""
        whole = prune(messages, budget, costs)
        if whole.report is None:
            return whole
        try:
            kept = prune(_split(messages)[0], budget - self._room(costs), costs)
        except TokenLimitExceededError:
            return whole
        tokens = costs.primer + sum(map(costs.message, kept.messages)) if kept.tokens is None else kept.tokens
        report = attrs.evolve(whole.report, dropped=len(messages) - len(kept.messages), tokens_after=tokens)
        return Pruned(kept.messages, report, tokens)

    async def summarized(self, messages: Sequence[Message], pruned: Pruned, costs: Costs) -> Pruned:
        """The pruned conversation with the summary of what it lacks, if there is one and it fits."""
        report = pruned.report
        if report is None or pruned.tokens is None or report.budget - pruned.tokens < self._room(costs):
            return pruned
        head = instructions(pruned.messages)
        summary = self.function(_dropped(messages, pruned.messages))
        if inspect.isawaitable(summary):
            summary = await summary
        if not summary:
            return pruned
        if isinstance(summary, str):
            summary = self._message(HEADING + shorten(summary, self.tokens, costs.text))
        tokens = pruned.tokens + costs.message(summary)
        if tokens > report.budget:
            return pruned
        kept = [*pruned.messages[:head], summary, *pruned.messages[head:]]
        return Pruned(kept, attrs.evolve(report, tokens_after=tokens, summarized=True), tokens)

    def _room(self, costs: Costs) -> int:
        return self.tokens + costs.message(self._message(HEADING))

    def _message(self, text: str) -> Message:
        return {"role": self.role, "content": text}


def _is_summary(message: Message) -> bool:
    content = message.get("content")
    return isinstance(content, str) and content.startswith(HEADING)


def _split(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The conversation without the summaries among its leading instructions, and these."""
    body = instructions(messages)
    summaries = [message for message in messages[:body] if _is_summary(message)]
    return [*(m for m in messages[:body] if not _is_summary(m)), *messages[body:]], summaries


def _dropped(messages: Sequence[Message], kept: Sequence[Message]) -> list[Message]:
    """What stands in the conversation and was not kept, an earlier summary first."""
    rest, summaries = _split(messages)
    head = instructions(rest)
    return [*summaries, *rest[head : len(rest) - (len(kept) - head)]]
