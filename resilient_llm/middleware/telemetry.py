"""Telemetry: spans and metrics by OpenTelemetry's conventions for generative AI."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.models import Request
from resilient_llm.outcome import Outcome
from resilient_llm.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from resilient_llm.models import Extensions
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response


class Telemetry:
    """Tell OpenTelemetry what happens to each call: a span for the call, a child for each attempt, and metrics.

    Names and units are those of the semantic conventions for generative AI; what these have no word for begins with
    `resilient_llm.`. Waits, fallbacks, rejections and pruning are events of the call's span. A stream's span ends with
    the stream; `resilient_llm.outcome` says `abandoned` of one that was not read to its end. The request that
    goes out carries the attempt's span (`traceparent`, or what the application's propagator writes), never baggage.
    While the first content is waited for, the span is the current one, so that logs and other spans belong to it.

    Belongs outermost; circuits and retry budgets of all stages after it, targets of a fallback included, are reported.
    May serve several clients.

    Args:
        tracer_provider: Who takes the spans. Default: the application's global one.
        meter_provider: Who takes the metrics. Default: the application's global one.
        capture_content: Put prompts, answers and the texts of errors on the call's span.
        propagate: Send the attempt's trace and span ids to the backend.
        clock: Time.

    Raises:
        ModuleNotFoundError: The extra `otel` is not installed.
    """

    role = "telemetry"

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        capture_content: bool = False,
        propagate: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        try:
            from opentelemetry import context, metrics, trace  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as exc:
            msg = "Telemetry needs OpenTelemetry: pip install 'resilient-llm[otel]'"
            raise ModuleNotFoundError(msg, name=exc.name) from exc
        from .telemetry_attempts import Tools  # noqa: PLC0415 - imports OpenTelemetry
        from .telemetry_call import Call  # noqa: PLC0415 - same
        from .telemetry_meters import Meters  # noqa: PLC0415 - same

        self._call, self._context = Call, context
        self._meters = Meters(metrics.get_meter("resilient_llm", __version__, meter_provider))
        self._tools = Tools(
            tracer=trace.get_tracer("resilient_llm", __version__, tracer_provider),
            meters=self._meters,
            clock=clock,
            capture_content=capture_content,
            propagate=propagate,
        )
        self._backends: set[str] = set()

    def watch(self, stages: Sequence[object], backend: str) -> None:
        """Report the circuits and retry budgets of these stages; pipelines do so with their own.

        Args:
            stages: All stages of a pipeline.
            backend: The name of its transport.
        """
        self._backends.add(backend)
        self._meters.watch(stages, backend)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Begin the call's span, call, and end it when the response settles."""
        backend = next(iter(self._backends)) if len(self._backends) == 1 else None
        call = self._call(self._tools, request, backend)
        extensions = cast("Extensions", {**request.extensions, "sending": call.attempts.sending})
        asked = Request(
            request.operation,
            request.messages,
            request.model,
            request.stream,
            request.params,
            request.deadline,
            request.attempt,
            extensions,
            (*request.observers, call.notice),
        )
        before = self._context.attach(call.attempts.call_context)
        try:
            response = await call_next(asked)
        except BaseException as exc:
            call.settled(None, Outcome.of(exc))
            raise
        finally:
            call.attempts.opening = False
            self._context.detach(before)
        response.on_settle(call.settled, response)
        return response
