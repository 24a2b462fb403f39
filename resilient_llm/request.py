"""The request: one call, as every stage sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

import attrs

if TYPE_CHECKING:
    from .error_base import LLMError
    from .events import Notice
    from .http_call import HTTPCall
    from .pipeline import Handler

Message: TypeAlias = Mapping[str, Any]
"""A message in OpenAI's chat shape: `role`, `content` (a string, a list of parts, or None), and what the role
needs (`name`, `tool_calls`, `tool_call_id`, `function_call`). Unknown keys pass through untouched, as far as a dialect
has a place for them; `anthropic_content` is for Anthropic alone."""

Operation: TypeAlias = Literal["chat", "embed", "models", "raw"]

Recovery: TypeAlias = Literal["raise", "restart", "resume"]
"""What becomes of a stream that breaks after its first content."""

Observer: TypeAlias = "Callable[[Notice], None]"
"""A plain function told what happens during a call; it does no I/O and does not raise."""


class Extensions(TypedDict, total=False):
    """Options of a single call that concern one stage or the transport. Times in seconds.

    `cache`: whether the answer may come from a `Cache`, and go into it; without it the stage decides.

    Some keys are set by stages for those further in:

    `max_wait`: no stage may wait longer than this before it calls the backend (again), because there is another way;
    `Fallback` sets it.

    `recovers`: the error that ended the stream which this request repeats or goes on with; `StreamRecovery` sets it,
    and `Retry` judges it like the failure of the attempt before. It concerns the target that answered: whoever passes
    the request to another one takes it out, and `resume_from` with it.

    `target`: the response's own `target` attribute, if whoever chose among targets set one; comes with `recovers`.

    `resume_from`: the text of the broken answer, without white space at its end, with which the new one is to begin;
    only for the target and model that broke, and never without `recovers`. A transport that goes on with answers
    (`ResponseInfo.resumes`) sends it as the beginning of the answer and hands over what follows; the others
    need not look at it. `messages` do not hold it.

    `http_call`: the HTTP request that this one was made from, if it came from a wrapped client.

    `sending`: a function of the URL that whoever sends calls right before, on each attempt; it gives headers to send
    along. `Telemetry` sets it.

    `invocation`: the call of a function that was decorated with `resilient`: what its backend awaits.
    """

    recovery: Recovery
    cache: bool
    max_wait: float
    recovers: LLMError
    target: object
    resume_from: str
    attempt_timeout: float | None
    first_token_timeout: float | None
    idle_timeout: float | None
    max_retries: int
    initial_backoff: float
    tool_deltas: bool
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    http_call: HTTPCall
    sending: Callable[[str], Mapping[str, str]]
    invocation: Handler


@attrs.frozen(slots=False)  # made thrice a call, and slots would double the time that takes
class Request:
    """One call, as every stage sees it. Stages pass on changed copies (`attrs.evolve`), never change one.

    The repr shows neither messages nor parameters nor headers.

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
    messages: Sequence[Message] = attrs.field(default=(), repr=False)
    model: str = ""
    stream: bool = False
    params: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    deadline: float | None = None
    attempt: int = 1
    extensions: Extensions = attrs.field(factory=Extensions, repr=False)
    observers: tuple[Observer, ...] = ()

    @property
    def begun(self) -> Sequence[Message]:
        """The messages, and after them the beginning of the answer (the extension `resume_from`), if there is one."""
        text = self.extensions.get("resume_from")
        return [*self.messages, {"role": "assistant", "content": text}] if text else self.messages

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
