"""StreamRecovery: what becomes of a stream that breaks after its first content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

import attrs

from resilient_llm.errors import LLMError
from resilient_llm.events import Event, Restarted
from resilient_llm.request import Recovery
from resilient_llm.wire.draft import Draft

from .repeating import LastAttempt, Repeating

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response

FORMS: Final = frozenset(
    """
    tools functions response_format format output_format output_config grammar json_schema structured_outputs
    guided_json guided_regex guided_choice guided_grammar thinking think logprobs
    """.split()  # noqa: SIM905 - a list of quoted strings is no easier to read
)
"""Parameters that give the answer a form which its second half does not have, or ask for more than text."""


@attrs.frozen
class StreamRecovery:
    """Begin a stream again, or go on with it, that breaks after its first content.

    Belongs after `Deadline` and before all stages that choose a target, change the conversation or repeat calls. The
    answer's end is judged as always; the `Retry` inside says whether and when there is another attempt, out of
    the call's own retries, budget and deadline. If there is none, the stream ends with its typed error, and
    `partial` holds what had come since the answer was begun.

    - `"raise"`: nothing is repeated; the reader gets the error.
    - `"restart"`: the answer is begun anew. A `Restarted` event comes before its first event: the reader drops
      what it has. `completion()` does so by itself.
    - `"resume"`: the backend gets the text so far as the beginning of its answer, and the reader gets the rest, as if
      nothing had happened. Where that is not possible, the answer restarts: if there was more than text (reasoning,
      tool calls), if tools or a form of answer are asked for, if the backend is not known to honour a beginning, or
      refuses it.

    Whole calls are repeated by `Retry` alone. The usage of a resumed answer is its last request's: the prompt
    includes the beginning, the completion is the rest. `max_tokens` counts anew.

    Args:
        mode: For calls that do not say `recovery=` themselves.
    """

    role = "recovery"

    mode: Recovery = attrs.field(default="raise", validator=attrs.validators.in_(get_args(Recovery)))

    def __call__(self, request: Request, call_next: Handler) -> Awaitable[Response]:
        """Call; a stream that may be recovered is wrapped into one that recovers."""
        if not request.stream:
            return call_next(request)
        mode = request.extensions.get("recovery", self.mode)
        return call_next(request) if mode == "raise" else _recovering(request, call_next, mode)


async def _recovering(request: Request, call_next: Handler, mode: Recovery) -> Response:
    attempts = LastAttempt()
    request = request.observed_by(attempts)
    response = await call_next(request)
    if response.outcome is not None:
        return response  # all of it is here
    return _Recovering(response, request, call_next, mode, attempts)


class _Recovering(Repeating):
    """Begins anew after a break, or goes on."""

    def __init__(
        self, inner: Response, request: Request, call_next: Handler, mode: Recovery, attempts: LastAttempt
    ) -> None:
        super().__init__(inner, request, call_next, attempts)
        self._resumes = mode == "resume" and not _has_form(request)
        self._draft = Draft()

    async def _batch(self) -> list[Event]:
        try:
            events = await self._inner.receive()
        except LLMError as error:
            return await self._recover(error)
        if not events and self._inner.outcome is not None:
            self._settle(self._inner.outcome)  # a stage inside has closed it
        return self._draft.take(events) if self._resumes else events

    async def _recover(self, error: LLMError) -> list[Event]:
        """Get the response that goes on, or begins again; raise what ends it all."""
        beginning = self._draft.cut() if self._resumes and self._inner.info.resumes else ""
        try:
            inner = await self._again(error, beginning)
        except LLMError as refusal:
            if not beginning or refusal.retryable:
                raise
            self._resumes, beginning = False, ""
            inner = await self._again(error)
        if inner is None:
            return []
        self._hold(inner)
        error.__traceback__ = None  # whoever keeps the event or the trace would keep this response
        if beginning and inner.info.resumes and "resume_from" in inner.request.extensions:
            return []  # else another target may have answered, which was not told of the beginning
        self._draft = Draft()
        return [Restarted(error, inner.request.attempt)]


def _has_form(request: Request) -> bool:
    given = {**request.params, **(request.extensions.get("body") or {})}
    return any(given.get(name) for name in FORMS)
