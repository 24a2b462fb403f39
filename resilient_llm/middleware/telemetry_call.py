"""One call's span, its events and metrics. Nothing is told after the call is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from opentelemetry.trace import SpanKind

from resilient_llm.errors import LLMError
from resilient_llm.events import ContentSeen, FallingBack, Notice, Waiting
from resilient_llm.models import Attempt, PromptCut, PruneReport
from resilient_llm.outcome import Outcome, OutcomeKind
from resilient_llm.wire import gen_ai

from .telemetry_attempts import OUTCOME, Attempts, Tools, kind_of

if TYPE_CHECKING:
    from resilient_llm.models import Request
    from resilient_llm.response import Response

CACHED = "resilient_llm.cached"
COUNT = "resilient_llm.attempts"
TARGET = "resilient_llm.target"


class Call:
    """One call, from its start to its end.

    Attributes:
        attempts: Its attempts.

    Args:
        tools: What is used.
        request: What is asked.
        backend: The backend's name, if it is known before it answers.
    """

    def __init__(self, tools: Tools, request: Request, backend: str | None) -> None:
        self._tools = tools
        self._request = request
        self._started = tools.clock.monotonic()
        asked = gen_ai.request_attributes(request)
        if backend:
            asked[gen_ai.PROVIDER] = backend
        self._told = {name: value for name, value in asked.items() if name in gen_ai.OF_METRICS}
        if tools.capture_content and request.messages:
            asked[gen_ai.INPUT_MESSAGES] = gen_ai.input_messages(request.messages)
        name = " ".join(filter(None, (gen_ai.operation_of(request), request.model)))
        self._span = tools.tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes=asked, start_time=tools.wall()
        )
        wrapped = request.extensions.get("http_call")
        self.attempts = Attempts(tools, self._span, self._told, wrapped.headers if wrapped else ())
        self._shared = False
        self._first_chunk: float | None = None
        self._over = False

    # What happens meanwhile ...

    def notice(self, notice: Notice) -> None:
        """Take note of what the stages tell; an observer."""
        if self._over:
            return
        match notice:
            case ContentSeen():
                if self._first_chunk is None and self._request.stream:
                    self._first_chunk = self._tools.clock.monotonic() - self._started
                    self._span.set_attribute(gen_ai.FIRST_CHUNK, self._first_chunk)
            case Attempt():
                self._attempted(notice)
            case Waiting(seconds, error, attempt):
                self._event("wait", error, seconds=seconds, attempt=attempt)
                self._tools.meters.wait.record(seconds, {**self._told, gen_ai.ERROR_TYPE: kind_of(error)})
            case FallingBack(target, error):
                self._event("fallback", error, target=target)
                of = {**self._told, TARGET: target, gen_ai.ERROR_TYPE: kind_of(error)}
                self._tools.meters.fallbacks.add(1, of)
            case PruneReport():
                self._event("pruned", **attrs.asdict(notice))
                self._tools.meters.pruned.add(max(0, notice.tokens_before - notice.tokens_after), self._told)
            case PromptCut():
                self._event("prompt_cut", **attrs.asdict(notice))

    def _attempted(self, attempt: Attempt) -> None:
        if attempt.shared:
            self._shared = True
            self._event("shared_attempt", attempt.error, backend=attempt.backend, duration=attempt.duration)
        elif attempt.error is not None and attempt.error.local:
            self._event("rejected", attempt.error)
        else:
            self.attempts.ended(attempt)

    # The end ...

    def settled(self, response: Response | None, outcome: Outcome) -> None:
        """The call is over."""
        self._over = True
        duration = self._tools.clock.monotonic() - self._started
        error = outcome.error if outcome.kind is OutcomeKind.FAILED else None
        own = error.local if isinstance(error, LLMError) else outcome.kind is OutcomeKind.ABANDONED
        cached = response is not None and response.info.cached
        self.attempts.settle(outcome, whole=None if own or cached or self._shared else duration)
        self._span.set_attributes({OUTCOME: str(outcome.kind), COUNT: self.attempts.count})
        if response is not None:
            self._answered(response)
        elif isinstance(error, LLMError):
            self._tell(gen_ai.PROVIDER, error.backend)
            if error.request_id:
                self._span.set_attribute(gen_ai.RESPONSE_ID, error.request_id)
        if error is not None:
            self._tools.fail(self._span, error)
            self._told[gen_ai.ERROR_TYPE] = kind_of(error)
        self._span.end(self._tools.wall())
        self._tools.meters.duration.record(duration, self._told)

    def _answered(self, response: Response) -> None:
        span, info, meters = self._span, response.info, self._tools.meters
        self._tell(gen_ai.PROVIDER, info.backend)
        self._tell(gen_ai.RESPONSE_MODEL, info.model)
        if info.request_id:
            span.set_attribute(gen_ai.RESPONSE_ID, info.request_id)
        if response.finish_reason:
            span.set_attribute(gen_ai.FINISH_REASONS, [response.finish_reason])
        if info.cached:
            span.set_attribute(CACHED, True)
        elif not self._shared:
            used = gen_ai.usage_attributes(response.usage)
            span.set_attributes(used)
            for kind, name in (("input", gen_ai.INPUT_TOKENS), ("output", gen_ai.OUTPUT_TOKENS)):
                if name in used:
                    meters.tokens.record(used[name], {**self._told, gen_ai.KIND_OF_TOKEN: kind})
        if self._first_chunk is not None:
            meters.first_chunk.record(self._first_chunk, self._told)
        if self._tools.capture_content:
            span.set_attribute(gen_ai.OUTPUT_MESSAGES, gen_ai.output_messages(response.so_far()))

    # Telling ...

    def _event(self, name: str, error: LLMError | None = None, **fields: Any) -> None:
        told = {f"resilient_llm.{key}": value for key, value in fields.items() if value is not None}
        if error is not None:
            told[gen_ai.ERROR_TYPE] = kind_of(error)
        self._span.add_event(f"resilient_llm.{name}", told, self._tools.wall())

    def _tell(self, name: str, value: str | None) -> None:
        """An attribute of the span and of the metrics."""
        if value:
            self._told[name] = value
            self._span.set_attribute(name, value)
