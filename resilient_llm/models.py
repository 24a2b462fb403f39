"""The values that travel through a pipeline: all frozen, all plain data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

import attrs

if TYPE_CHECKING:
    from .errors import LLMError
    from .events import Notice, ToolCall

Message: TypeAlias = Mapping[str, Any]
"""A message in OpenAI's chat shape: `role`, `content` (a string, a list of parts, or None), and what the role
needs (`name`, `tool_calls`, `tool_call_id`, `function_call`). Unknown keys pass through untouched."""

Operation: TypeAlias = Literal["chat", "embed", "models", "raw"]

Observer: TypeAlias = "Callable[[Notice], None]"
"""A plain function told what happens during a call; it does no I/O and does not raise."""


class Extensions(TypedDict, total=False):
    """Options of a single call that concern one stage or the transport. Times in seconds."""

    attempt_timeout: float | None
    first_token_timeout: float | None
    idle_timeout: float | None
    max_retries: int
    initial_backoff: float
    tool_deltas: bool
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]


@attrs.frozen
class Request:
    """One call, as every stage sees it. Stages pass on changed copies (`attrs.evolve`), never change one.

    Args:
        operation: `"chat"`, `"embed"`, `"models"` or `"raw"`.
        messages: The conversation, oldest first, in OpenAI's shape.
        model: The model's name; empty lets the transport choose.
        stream: Hand the answer over while it is written.
        params: What goes into the body beside model and messages (`temperature`, `tools`, ...), untouched; for
            `"embed"` the `input`.
        deadline: The instant, in the clock's monotonic seconds, at which the call must be over; None: no limit.
        attempt: 1 for the first attempt, counted up by `Retry`.
        extensions: Options that one stage or the transport reads; see `Extensions`.
        observers: Functions told of attempts, waits and pruning while the call runs.
    """

    operation: Operation = "chat"
    messages: Sequence[Message] = ()
    model: str = ""
    stream: bool = False
    params: Mapping[str, Any] = attrs.field(factory=dict)
    deadline: float | None = None
    attempt: int = 1
    extensions: Extensions = attrs.field(factory=Extensions)
    observers: tuple[Observer, ...] = ()

    def observed_by(self, observer: Observer) -> Request:
        """A copy with one more observer; what `attrs.evolve` gives, in a third of the time."""
        return Request(
            self.operation,
            self.messages,
            self.model,
            self.stream,
            self.params,
            self.deadline,
            self.attempt,
            self.extensions,
            (*self.observers, observer),
        )

    def due(self, deadline: float) -> Request:
        """A copy with a deadline."""
        return Request(
            self.operation,
            self.messages,
            self.model,
            self.stream,
            self.params,
            deadline,
            self.attempt,
            self.extensions,
            self.observers,
        )

    def tell(self, notice: Notice) -> None:
        """Tell every observer."""
        for observer in self.observers:
            observer(notice)


@attrs.frozen
class Usage:
    """Tokens as the backend counted them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@attrs.frozen
class Attempt:
    """One call of the backend, or a local rejection in the middle of a retry loop (then `duration` is 0).

    Args:
        number: 1 for the first.
        backend: The transport's name.
        duration: Seconds from sending to the end of the answer or the failure.
        waited: Seconds waited before it.
        error: Why it failed, or None.
    """

    number: int
    backend: str | None
    duration: float
    waited: float = 0.0
    error: LLMError | None = None


@attrs.frozen
class PruneReport:
    """What `TokenBudget` dropped to make a conversation fit.

    Args:
        dropped: How many messages were dropped.
        tokens_before: The conversation's size.
        tokens_after: The size of what was sent.
        budget: The tokens that messages may use.
        exact: Were the tokens counted with the model's own vocabulary?
    """

    dropped: int
    tokens_before: int
    tokens_after: int
    budget: int
    exact: bool = True


@attrs.frozen
class FunctionCall:
    """A legacy function call: the function's name and its arguments as JSON text."""

    name: str
    arguments: str


@attrs.frozen
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
        attempts: How many times a backend was called.
        trace: One record for each attempt.
        sent: The messages that were sent, after pruning.
        pruned: What was dropped before sending, or None.
        body: The bytes of an answer that came whole, for `raw`; None for streams.
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

    @property
    def raw(self) -> Mapping[str, Any] | None:
        """The decoded body of an answer that came whole, with all that is not read here; None for streams."""
        return None if self.body is None else json.loads(self.body)

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
        return message

    @property
    def messages(self) -> list[Message]:
        """The conversation so far: what was sent, and the answer."""
        return [*self.sent, self.message]


@attrs.frozen
class Embeddings:
    """Vectors in the order of the texts."""

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
