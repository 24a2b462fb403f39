"""What a stream is made of, and what the observers of a call are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from .models import Attempt, PromptCut, PruneReport, Usage

if TYPE_CHECKING:
    from .errors import LLMError


@attrs.frozen
class TextDelta:
    """The next piece of the answer's text; never empty."""

    text: str


@attrs.frozen
class ReasoningDelta:
    """The next piece of what the model thinks before it answers; never empty."""

    text: str


@attrs.frozen
class ToolCall:
    """A whole tool call: `arguments` is JSON text that parses (or an empty string).

    Args:
        index: The call's place among the calls of this answer, from 0.
        id: The id that the result's message must carry; empty for a legacy function call.
        name: The function's name.
        arguments: JSON text as the model wrote it.
    """

    index: int
    id: str
    name: str
    arguments: str


@attrs.frozen
class ToolCallDelta:
    """A fragment of a tool call; handed over only with `tool_deltas=True`.

    Args:
        index: The call's place among the calls of this answer, from 0.
        id: Empty in all fragments of a call but the first.
        name: The function's; empty in all but the first, too.
        arguments: The next piece of the JSON text.
    """

    index: int
    id: str
    name: str
    arguments: str


@attrs.frozen
class UsageEvent:
    """The tokens that the call cost, as the backend counted them."""

    usage: Usage


@attrs.frozen
class Restarted:
    """The stream broke and begins again: drop what came before.

    Args:
        reason: What ended it.
        attempt: The number of the attempt that begins, counted over the whole call.
    """

    reason: LLMError
    attempt: int


@attrs.frozen
class Finish:
    """The last event: why the model stopped (`stop`, `length`, `tool_calls`, `content_filter`, ...)."""

    reason: str


@attrs.frozen
class Result:
    """The outcome of an operation that is no chat: `Embeddings`, a list of `ModelInfo`, a decoded body."""

    value: object


Event: TypeAlias = (
    TextDelta | ReasoningDelta | ToolCall | ToolCallDelta | UsageEvent | Restarted | Finish | Result
)
"""One element of a response's body. `Finish` is always the last."""


@attrs.frozen
class ContentSeen:
    """Content arrived on the wire: told for the first of each attempt, and again for what is held back."""


@attrs.frozen
class Waiting:
    """A stage is about to wait before it calls, or calls again.

    Args:
        seconds: How long, as far as can be told.
        error: Why: how the last attempt failed; if it is `local`, the limit that holds back the next one.
        attempt: The number of the attempt that failed, or is held back.
    """

    seconds: float
    error: LLMError
    attempt: int


@attrs.frozen
class FallingBack:
    """A target failed, and another one is asked.

    Args:
        target: The name of the one that is asked now.
        error: Why.
    """

    target: str
    error: LLMError


Notice: TypeAlias = ContentSeen | Waiting | FallingBack | Attempt | PruneReport | PromptCut
"""What observers of a call are told: an `Attempt` when it has ended, a `PruneReport` when messages were dropped, a
`PromptCut` when the backend dropped some by itself."""

CONTENT_SEEN = ContentSeen()
