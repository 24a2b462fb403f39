"""The values that travel through a pipeline: all frozen, all plain data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from .request import Extensions, Message, Observer, Operation, Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .errors import LLMError
    from .events import ToolCall

__all__ = [
    "NO_USAGE",
    "Attempt",
    "Completion",
    "Embeddings",
    "Extensions",
    "FunctionCall",
    "Message",
    "ModelInfo",
    "Observer",
    "Operation",
    "PromptCut",
    "PruneReport",
    "Request",
    "Usage",
]


@attrs.frozen
class Usage:
    """Tokens as the backend counted them; None where it did not say.

    Args:
        prompt_tokens: The prompt's, those included that came out of the backend's cache.
        completion_tokens: The answer's, what the model thought included.
        total_tokens: Both together.
        cached_tokens: Those of the prompt that came out of the backend's cache.
        reasoning_tokens: Those of the answer that the model thought.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


NO_USAGE = Usage()


@attrs.frozen
class Attempt:
    """One call of the backend, or a local rejection in the middle of a retry loop (then `duration` is 0).

    Args:
        number: 1 for the first.
        backend: The transport's name.
        duration: Seconds from sending to the end of the answer or the failure.
        waited: Seconds waited before it.
        error: Why it failed, or None.
        shared: Was it made for another caller's equal call, which this one joined? Then it cost nothing here.
    """

    number: int
    backend: str | None
    duration: float
    waited: float = 0.0
    error: LLMError | None = None
    shared: bool = False


@attrs.frozen
class PruneReport:
    """What `TokenBudget` dropped to make a conversation fit.

    Args:
        dropped: How many messages were dropped.
        tokens_before: The conversation's size.
        tokens_after: The size of what was sent.
        budget: The tokens that messages may use.
        exact: Were the tokens counted with the model's own vocabulary?
        shortened: How many tool results were shortened.
        summarized: Does a summary stand for what was dropped?
    """

    dropped: int
    tokens_before: int
    tokens_after: int
    budget: int
    exact: bool = True
    shortened: int = 0
    summarized: bool = False


@attrs.frozen
class PromptCut:
    """A backend cut a prompt without saying so.

    Args:
        tokens: What it says the prompt had.
        window: What its window is taken for from now on.
    """

    tokens: int
    window: int


@attrs.frozen
class FunctionCall:
    """A legacy function call: the function's name and its arguments as JSON text."""

    name: str
    arguments: str


@attrs.frozen(slots=False)  # of so many attributes slots would double the time that making it takes
class Completion:
    """A whole answer.

    Args:
        text: The answer's text; empty if the model only called tools.
        reasoning: What the model thought aloud, if the backend shows it.
        tool_calls: Whole calls in order.
        function_call: The legacy call, if `functions` were offered and one was called.
        finish_reason: Why the model stopped.
        usage: Tokens, as the backend counted them.
        model: The model that answered, as the backend names it.
        backend: The transport that answered.
        request_id: The backend's id of the request.
        attempts: How many times a backend was called; 0 if the answer came out of a cache.
        trace: One record for each attempt.
        sent: The messages that were sent, after pruning.
        pruned: What was dropped before sending, or None.
        body: The bytes of an answer that came whole, for `raw`; None for streams.
        extra: What else `message` carries, for the backend to see again: `anthropic_content`, an answer's blocks as
            they came, where OpenAI's shape could not say all of them (signed thoughts, citations, searches).
        cached: Did the answer come out of a cache?
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    function_call: FunctionCall | None = None
    finish_reason: str | None = None
    usage: Usage = attrs.field(factory=Usage)
    model: str = ""
    backend: str = ""
    request_id: str | None = None
    attempts: int = 1
    trace: tuple[Attempt, ...] = ()
    sent: Sequence[Message] = attrs.field(default=(), repr=False)
    pruned: PruneReport | None = None
    body: bytes | None = attrs.field(default=None, repr=False)
    extra: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    cached: bool = False

    @property
    def raw(self) -> Mapping[str, Any] | None:
        """The decoded body of an answer that came whole, with all that is not read here; None for streams."""
        return None if self.body is None else json.loads(self.body.decode("utf-8-sig", "replace"))

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message, ready to be appended to the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in self.tool_calls
            ]
        elif self.function_call is not None:
            message["function_call"] = attrs.asdict(self.function_call)
        else:
            message["content"] = self.text
        message.update(self.extra)
        return message

    @property
    def messages(self) -> list[Message]:
        """The conversation so far: what was sent, and the answer."""
        return [*self.sent, self.message]


@attrs.frozen
class Embeddings:
    """Vectors in the order of the texts.

    Args:
        vectors: One for each text, all of the model's number of dimensions.
        model: The model that answered, as the backend names it.
        usage: Tokens, as the backend counted them; of all batches together.
    """

    vectors: list[list[float]]
    model: str = ""
    usage: Usage = attrs.field(factory=Usage)


@attrs.frozen
class ModelInfo:
    """A model that a backend offers.

    Args:
        id: The name to ask for.
        name: A name for people.
        owned_by: Whoever the backend names.
        context_length: The window in use, in tokens, where the backend tells.
        loaded: Is it in memory? None where the backend does not tell.
        kind: `"chat"`, `"embedding"`, or None where the backend does not tell.
        raw: The backend's own entry.
    """

    id: str
    name: str = ""
    owned_by: str = ""
    context_length: int | None = None
    loaded: bool | None = None
    kind: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
