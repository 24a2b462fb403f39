"""Telemetry, in virtual time: what OpenTelemetry is told of calls, read back from its in-memory exporters."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from middleware.recorder import Recorder, seconds
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.semconv._incubating.attributes import (
    error_attributes,
    gen_ai_attributes,
    http_attributes,
    server_attributes,
)
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.trace import SpanKind, StatusCode

import resilient_llm as rl
from resilient_llm.testing import ScriptedTransport, run_virtual

SECRET = "the secret prompt"
ANSWER = "the secret answer"
ASK = rl.Request(
    messages=[{"role": "user", "content": SECRET}],
    model="m",
    params={"temperature": 0.5, "max_tokens": 99, "stop": "END", "seed": True, "user": SECRET},
)
STREAM = attrs.evolve(ASK, stream=True)
BUSY = rl.ModelOverloadedError(f"busy with {SECRET}", status=503, backend="scripted")
USED = rl.UsageEvent(rl.Usage(3, 5, 8, cached_tokens=2, reasoning_tokens=1))
SLOW = [1.0, rl.TextDelta("a"), 2.0, rl.TextDelta("b"), USED, rl.Finish("stop")]

CONVENTIONS = {
    value
    for module in (error_attributes, gen_ai_attributes, http_attributes, server_attributes)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}


FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"


async def whole(pipeline: rl.Pipeline, request: rl.Request) -> None:
    async with await pipeline(request) as response:
        await response.completion()


async def left(pipeline: rl.Pipeline, request: rl.Request) -> None:
    async with await pipeline(request) as response:
        await anext(response)


async def cancelled(pipeline: rl.Pipeline, request: rl.Request) -> None:
    async with asyncio.timeout(0.5):
        await pipeline(request)


def play(*scripts, request=ASK, way=whole, times=1, recorder=None, **options) -> Recorder:
    """Calls through the standard stack; gives what was told of them."""
    recorder = recorder or Recorder()
    options = {"telemetry": recorder.stage, "clock": recorder.clock, "jitter": None, **options}
    stack = rl.standard_stack(backend="scripted", **options)

    async def scenario() -> None:
        pipeline = rl.Pipeline(stack, ScriptedTransport(*scripts), clock=recorder.clock)
        for _ in range(times):
            with contextlib.suppress(rl.LLMError, TimeoutError):
                await way(pipeline, request)

    run_virtual(scenario())
    return recorder


# Spans ...


def test_a_call_is_a_span_and_each_attempt_a_child() -> None:
    """The call covers attempts and waits; each attempt has its own time, and only what failed is an error."""
    recorder = play(BUSY, SLOW)
    assert seconds(recorder.call) == (0.0, 3.5)
    assert [seconds(span) for span in recorder.attempts()] == [(0.0, 0.0), (0.5, 3.5)]
    assert {span.kind for span in recorder.spans} == {SpanKind.CLIENT}
    statuses = [span.status.status_code for span in recorder.spans]
    assert statuses == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    first, second = (dict(span.attributes) for span in recorder.attempts())
    assert first | {"error.type": "MODEL_OVERLOADED", "http.response.status_code": 503} == first
    assert (first["resilient_llm.attempt.number"], second["resilient_llm.attempt.number"]) == (1, 2)
    assert second["resilient_llm.waited"] == 0.5


def test_the_call_says_what_was_asked_and_what_came() -> None:
    """Operation, provider, models, parameters, usage and the reason of the end, in the conventions' words."""
    recorder = play(SLOW)
    assert recorder.call.name == "chat m"
    assert dict(recorder.call.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 99,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.model": "scripted-model",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "resilient_llm.attempts": 1,
        "resilient_llm.outcome": "completed",
    }


def test_a_failed_call_is_an_error_with_its_code() -> None:
    """The last error's code is on the call, in its status, and on the duration's metric."""
    recorder = play(BUSY, max_retries=1)
    assert recorder.call.attributes["error.type"] == "MODEL_OVERLOADED"
    assert (recorder.call.status.status_code, recorder.call.status.description) == (
        StatusCode.ERROR,
        "MODEL_OVERLOADED",
    )
    assert recorder.call.attributes["resilient_llm.outcome"] == "failed"
    assert len(recorder.attempts()) == 2
    (duration,) = recorder.metrics()["gen_ai.client.operation.duration"]
    assert duration.attributes["error.type"] == "MODEL_OVERLOADED"


def test_a_stream_ends_its_span_when_it_settles() -> None:
    """Not at its first content, which is an attribute and a metric."""
    recorder = play(SLOW, request=STREAM)
    assert seconds(recorder.call) == (0.0, 3.0)
    assert [seconds(span) for span in recorder.attempts()] == [(0.0, 3.0)]
    assert recorder.call.attributes["gen_ai.response.time_to_first_chunk"] == 1.0
    assert recorder.call.attributes["gen_ai.request.stream"] is True
    assert recorder.call.attributes["gen_ai.usage.output_tokens"] == 5
    (first,) = recorder.metrics()["gen_ai.client.operation.time_to_first_chunk"]
    assert (first.count, first.sum) == (1, 1.0)


@pytest.mark.parametrize("way", [left, cancelled])
@pytest.mark.parametrize("stages", ["standard", "telemetry alone"])
def test_what_its_caller_left_is_abandoned(way, stages) -> None:
    """A stream closed early, or a call that was cancelled, is no error and says so; so does its attempt."""
    options = {"request": STREAM, "way": way}
    if stages == "standard":
        recorder = play(SLOW, **options)
    else:
        recorder = Recorder()
        pipeline = rl.Pipeline([recorder.stage], ScriptedTransport(SLOW), clock=recorder.clock)
        with contextlib.suppress(TimeoutError):
            run_virtual(way(pipeline, STREAM))
    assert seconds(recorder.call) == (0.0, 1.0 if way is left else 0.5)
    assert all(span.attributes["resilient_llm.outcome"] == "abandoned" for span in recorder.spans)
    assert all(span.status.status_code is StatusCode.UNSET for span in recorder.spans)


def test_a_stream_that_breaks_and_restarts_is_one_call_of_two_attempts() -> None:
    """The first attempt is the error, the call is none, and the first content counts once."""
    broken = [1.0, rl.TextDelta("a"), 1.0, rl.ModelUnavailableError("reset", backend="scripted")]
    recorder = play(broken, SLOW, request=STREAM, recovery="restart")
    assert [seconds(span) for span in recorder.attempts()] == [(0.0, 2.0), (2.5, 5.5)]
    assert recorder.call.attributes["resilient_llm.outcome"] == "completed"
    assert recorder.call.attributes["gen_ai.response.time_to_first_chunk"] == 1.0
    assert recorder.events == ["resilient_llm.wait"]


def test_a_stack_that_counts_no_attempts_has_one_all_the_same() -> None:
    """Without a Retry the call itself is the attempt, answered or failed."""
    for script, outcome in ((SLOW, "completed"), (BUSY, "failed")):
        recorder = Recorder()
        pipeline = rl.Pipeline([recorder.stage], ScriptedTransport(script), clock=recorder.clock)
        with contextlib.suppress(rl.LLMError):
            run_virtual(whole(pipeline, ASK))
        (attempt,) = recorder.attempts()
        assert seconds(attempt) == seconds(recorder.call)
        assert attempt.attributes["resilient_llm.outcome"] == outcome


def test_a_fallback_is_an_event_and_the_provider_is_who_answered() -> None:
    """Each attempt names its backend, and the call the one that answered."""
    second = ScriptedTransport("ok", name="second")
    recorder = play(BUSY, fallback=[second], max_retries=0)
    assert recorder.events == ["resilient_llm.fallback"]
    assert [span.attributes["gen_ai.provider.name"] for span in recorder.attempts()] == ["scripted", "second"]
    assert recorder.call.attributes["gen_ai.provider.name"] == "second"
    (fallbacks,) = recorder.metrics()["resilient_llm.fallbacks"]
    assert (fallbacks.value, fallbacks.attributes["resilient_llm.target"]) == (1, "second")


def test_pruning_is_an_event_and_a_metric() -> None:
    """How many messages and tokens went, not what they said."""
    request = attrs.evolve(ASK, messages=[{"role": "user", "content": f"{SECRET} " * 30}] * 5, model="gpt-4o")
    recorder = play("ok", request=request, context_window=300)
    (event,) = recorder.call.events
    assert event.name == "resilient_llm.pruned"
    assert event.attributes["resilient_llm.dropped"] == 3
    (pruned,) = recorder.metrics()["resilient_llm.pruned"]
    before, after = (event.attributes[f"resilient_llm.tokens_{when}"] for when in ("before", "after"))
    assert pruned.value == before - after > 0


def test_a_rejection_is_no_attempt() -> None:
    """With the circuit open nothing is sent, and no child says otherwise."""
    recorder = play(BUSY, breaker=rl.CircuitBreaker(fail_max=1), times=2, max_retries=0)
    first, second = recorder.calls
    assert (len(recorder.attempts(first)), len(recorder.attempts(second))) == (1, 0)
    assert second.attributes["error.type"] == "CIRCUIT_OPEN"
    assert second.attributes["resilient_llm.attempts"] == 0


def test_a_circuit_that_opens_in_mid_call_is_an_event() -> None:
    """The loop ends with the last real error, and the rejection is told."""
    recorder = play(BUSY, breaker=rl.CircuitBreaker(fail_max=1))
    assert recorder.events == ["resilient_llm.wait", "resilient_llm.rejected"]
    assert len(recorder.attempts()) == 1
    assert recorder.call.attributes["error.type"] == "MODEL_OVERLOADED"


def test_cached_answers_cost_no_tokens_and_no_attempt() -> None:
    """The second call says that it was cached, and is not counted among the tokens."""
    recorder = play(SLOW, cache=rl.Cache(when=lambda _: True), times=2)
    first, second = recorder.calls
    assert second.attributes["resilient_llm.cached"] is True
    assert "gen_ai.usage.input_tokens" not in second.attributes
    assert (len(recorder.attempts(first)), len(recorder.attempts(second))) == (1, 0)
    assert [point.count for point in recorder.metrics()["gen_ai.client.token.usage"]] == [1, 1]


def test_shared_calls_are_still_shared_and_counted_once() -> None:
    """Telemetry does not make equal calls different; who joined has no attempt and no tokens of its own."""
    recorder = Recorder()
    transport = ScriptedTransport(SLOW)
    stack = rl.standard_stack(
        telemetry=recorder.stage, clock=recorder.clock, coalesce=rl.Coalesce(clock=recorder.clock)
    )
    pipeline = rl.Pipeline(stack, transport, clock=recorder.clock)

    async def scenario() -> None:
        await asyncio.gather(whole(pipeline, ASK), whole(pipeline, ASK))

    run_virtual(scenario())
    assert len(transport.requests) == 1
    assert sorted(len(recorder.attempts(call)) for call in recorder.calls) == [0, 1]
    joined = next(call for call in recorder.calls if not recorder.attempts(call))
    assert [event.name for event in joined.events] == ["resilient_llm.shared_attempt"]
    assert [point.count for point in recorder.metrics()["gen_ai.client.token.usage"]] == [1, 1]


def test_a_prompt_that_the_backend_cut_is_an_event() -> None:
    """With the sizes, as it is logged."""
    request = attrs.evolve(ASK, messages=[{"role": "user", "content": f"{SECRET} " * 3_000}])
    cut = [rl.TextDelta("ok"), rl.UsageEvent(rl.Usage(prompt_tokens=2_000)), rl.Finish("stop")]
    with pytest.warns(RuntimeWarning, match="has cut the conversation"):
        recorder = play(cut, request=request, context_window=10**6)
    (event,) = recorder.call.events
    assert event.name == "resilient_llm.prompt_cut"
    assert event.attributes["resilient_llm.tokens"] == 2_000


def test_a_failure_has_the_backends_id_of_it() -> None:
    """So that its support can be asked."""
    recorder = play(rl.ModelAuthError("no", request_id="req-1", backend="scripted"))
    assert recorder.call.attributes["gen_ai.response.id"] == "req-1"
    assert recorder.call.attributes["gen_ai.provider.name"] == "scripted"


def test_errors_of_other_peoples_making_go_by_their_class() -> None:
    """A stage's own bug is a failed call, and no word of it is told."""

    async def broken(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        raise ZeroDivisionError(SECRET)

    recorder = Recorder()
    pipeline = rl.Pipeline([recorder.stage, broken], ScriptedTransport("ok"), clock=recorder.clock)
    with pytest.raises(ZeroDivisionError):
        run_virtual(whole(pipeline, ASK))
    assert recorder.call.attributes["error.type"] == "ZeroDivisionError"
    assert SECRET not in recorder.everything()


def test_what_is_told_too_late_is_not_told() -> None:
    """A stage that goes on after its caller left does not speak of a call that is over."""
    recorder, kept = Recorder(), []

    async def keeping(request: rl.Request, call_next: rl.Handler) -> rl.Response:
        kept.append(request)
        return await call_next(request)

    pipeline = rl.Pipeline([recorder.stage, keeping], ScriptedTransport("ok"), clock=recorder.clock)
    run_virtual(whole(pipeline, ASK))
    kept[0].tell(rl.Attempt(2, "scripted", 1.0, error=BUSY))
    kept[0].tell(rl.Waiting(1.0, BUSY, 1))
    assert len(recorder.spans) == 2
    assert "resilient_llm.retries" not in recorder.metrics()


# Metrics ...


def test_tokens_durations_retries_and_waits_are_metrics() -> None:
    """Each with the conventions' name and unit where they have one, and the attributes to tell calls apart."""
    recorder = play(BUSY, BUSY, SLOW)
    told = recorder.metrics()
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in told["gen_ai.client.token.usage"]}
    assert tokens == {"input": 3, "output": 5}
    (duration,) = told["gen_ai.client.operation.duration"]
    assert (duration.count, duration.sum) == (1, 4.5)
    assert dict(duration.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "scripted-model",
    }
    assert duration.explicit_bounds[:3] == (0.01, 0.02, 0.04)
    (retries,) = told["resilient_llm.retries"]
    assert (retries.value, retries.attributes["error.type"]) == (2, "MODEL_OVERLOADED")
    (waits,) = told["resilient_llm.wait.duration"]
    assert (waits.count, waits.sum) == (2, 1.5)
    attempts = {
        point.attributes.get("error.type"): point.count for point in told["resilient_llm.attempt.duration"]
    }
    assert attempts == {"MODEL_OVERLOADED": 2, None: 1}


def circuits(recorder: Recorder) -> dict[str, int]:
    points = recorder.metrics()["resilient_llm.circuit.state"]
    return {
        point.attributes["resilient_llm.circuit.name"]: point.attributes["resilient_llm.circuit.state"]
        for point in points
        if point.value
    }


def test_circuits_and_budgets_are_read_when_metrics_are() -> None:
    """The state that a circuit is in has the value 1, each change is counted, and the budget shows what is left."""
    recorder = Recorder()
    breaker = rl.CircuitBreaker(fail_max=3, clock=recorder.clock)
    play(SLOW, recorder=recorder, breaker=breaker)
    assert circuits(recorder) == {"m": "closed"}
    budget = rl.RetryBudget()
    play(BUSY, recorder=recorder, breaker=breaker, retry_budget=budget)
    assert circuits(recorder) == {"m": "open"}
    told = recorder.metrics()
    assert sum(point.value for point in told["resilient_llm.circuit.state"]) == 1
    (opened,) = told["resilient_llm.circuit.transitions"]
    assert (opened.value, opened.attributes["resilient_llm.circuit.state"]) == (1, "open")


def test_the_budget_of_a_stack_in_use_is_reported_until_it_is_gone() -> None:
    """What was spent is missing from it; a stack that nobody holds is not reported, nor kept alive."""
    recorder = Recorder()
    stack = rl.standard_stack(telemetry=recorder.stage, clock=recorder.clock, jitter=None, max_retries=2)
    busy = rl.ModelOverloadedError("busy")
    pipeline = rl.Pipeline(stack, ScriptedTransport(busy), clock=recorder.clock)
    with contextlib.suppress(rl.ModelOverloadedError):
        run_virtual(whole(pipeline, ASK))
    (left_over,) = recorder.metrics()["resilient_llm.retry_budget.remaining"]
    assert (left_over.value, left_over.attributes["gen_ai.request.model"]) == (500 - 2 * 14, "m")
    del stack, pipeline, busy
    gc.collect()
    assert "resilient_llm.retry_budget.remaining" not in recorder.metrics()


def test_the_targets_of_a_fallback_are_watched_too() -> None:
    """Each circuit is under its target's name."""
    recorder = Recorder()
    fallback = rl.Fallback([ScriptedTransport("ok", name="second")], clock=recorder.clock)
    play(BUSY, recorder=recorder, fallback=fallback, max_retries=0)
    points = recorder.metrics()["resilient_llm.circuit.state"]
    assert {point.attributes["gen_ai.provider.name"] for point in points} >= {"second"}


def test_a_shared_state_out_of_reach_is_told() -> None:
    """1 while it is, 0 while it is not; once for all stacks that share it."""

    class Away(rl.MemoryState):
        alone = False
        namespace = "fleet"

    recorder, state = Recorder(), Away()
    stacks = [rl.standard_stack(state=state) for _ in range(2)]
    for stack in stacks:
        recorder.stage.watch(stack, "scripted")
    for away in (False, True):
        state.alone = away
        (point,) = recorder.metrics()["resilient_llm.state.alone"]
        assert (point.value, dict(point.attributes)) == (away, {"resilient_llm.state.namespace": "fleet"})


# Conventions ...


def test_the_docs_list_every_name() -> None:
    """Attributes, events and metrics of our own, and of the conventions."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "telemetry.md").read_text()
    told = set()
    for recorder in varied():
        points = recorder.metrics()
        told |= {*points, *(name for all_ in points.values() for point in all_ for name in point.attributes)}
        told |= {name for span in recorder.spans for name in span.attributes}
        told |= {event.name for span in recorder.spans for event in span.events}
    assert len(told) > 30
    assert {
        name for name in told if f"`{name}`" not in page and f"`..{name.split('.')[-1]}`" not in page
    } == set()


def varied() -> list[Recorder]:
    broken = [1.0, rl.TextDelta("a"), 1.0, rl.ModelUnavailableError(SECRET, backend="scripted")]
    crowd = attrs.evolve(ASK, messages=[{"role": "user", "content": f"{SECRET} " * 30}] * 5, model="gpt-4o")
    answer = [rl.TextDelta(ANSWER), USED, rl.Finish("stop")]
    return [
        play(BUSY, answer),
        play(BUSY, max_retries=0),
        play(broken, answer, request=STREAM, recovery="restart"),
        play(broken, request=STREAM, max_retries=0),
        play(answer, request=crowd, context_window=300),
        play(BUSY, fallback=[ScriptedTransport(answer)], max_retries=0),
        play(answer, request=attrs.evolve(ASK, operation="embed", params={"input": SECRET, "dimensions": 3})),
    ]


@pytest.mark.skipif(FIRST_CHUNK not in CONVENTIONS, reason="the conventions that are installed are older")
@pytest.mark.skipif(
    "gen_ai.usage.reasoning.output_tokens" not in CONVENTIONS,
    reason="needs newer conventions to compare with",
)
def test_names_are_those_of_the_conventions() -> None:
    """Each attribute and metric is one of the conventions' package, or begins with our own name."""
    for recorder in varied():
        points = recorder.metrics()
        names = {name for span in recorder.spans for name in span.attributes or ()}
        names |= {name for all_ in points.values() for point in all_ for name in point.attributes}
        names |= {name for span in recorder.spans for event in span.events for name in event.attributes}
        assert {name for name in names if not name.startswith("resilient_llm.")} <= CONVENTIONS
        metrics = {name for name in points if not name.startswith("resilient_llm.")}
        assert metrics <= {
            gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION,
            gen_ai_metrics.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK,
            gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE,
        }
        assert gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION in metrics


def test_nothing_that_was_said_is_told() -> None:
    """No prompt, no answer, no text of an error, in no span, event or metric."""
    for recorder in varied():
        assert SECRET not in recorder.everything()
        assert ANSWER not in recorder.everything()


def test_content_is_told_if_asked_for() -> None:
    """Then prompt, answer and the text of errors are on the span, as the conventions want them."""
    recorder = Recorder(capture_content=True)
    play([rl.TextDelta(ANSWER), rl.Finish("length")], recorder=recorder, request=STREAM)
    assert recorder.call.attributes["gen_ai.input.messages"] == (
        '[{"role": "user", "parts": [{"type": "text", "content": "' + SECRET + '"}]}]'
    )
    assert recorder.call.attributes["gen_ai.output.messages"] == (
        '[{"role": "assistant", "parts": [{"type": "text", "content": "'
        + ANSWER
        + '"}], "finish_reason": "length"}]'
    )
    recorder = Recorder(capture_content=True)
    play(BUSY, recorder=recorder, max_retries=0)
    assert SECRET in recorder.call.status.description


def test_an_answer_that_broke_off_is_told_as_far_as_it_came() -> None:
    """Read or not, and whether the call failed or its caller left."""
    for way, ending in ((whole, rl.ModelUnavailableError("reset")), (left, 5.0)):
        recorder = Recorder(capture_content=True)
        play([rl.TextDelta("as far"), ending], recorder=recorder, request=STREAM, way=way, max_retries=0)
        assert (
            '"content": "as far"}], "finish_reason": "incomplete"'
            in recorder.call.attributes["gen_ai.output.messages"]
        )


# Contexts ...


class Looking:
    """A transport that notes what it is sent with and which span is the current one; and tells that it sends."""

    name = "looking"

    def __init__(self, *scripts) -> None:
        self.inner = ScriptedTransport(*scripts)
        self.headers: list[dict[str, str]] = []
        self.current: list[int] = []

    async def __call__(self, request: rl.Request) -> rl.Response:
        self.headers.append(dict(request.extensions["sending"]("https://user:pw@example.com/v1?key=k")))
        self.current.append(trace.get_current_span().get_span_context().span_id)
        return await self.inner(request)

    async def aclose(self) -> None:
        pass


def look(*scripts, request=ASK, recorder=None, **options) -> tuple[Recorder, Looking]:
    recorder = recorder or Recorder()
    transport = Looking(*scripts)
    stack = rl.standard_stack(telemetry=recorder.stage, clock=recorder.clock, jitter=None, **options)
    run_virtual(whole(rl.Pipeline(stack, transport, clock=recorder.clock), request))
    return recorder, transport


def test_each_attempt_sends_its_own_ids_and_is_the_current_span() -> None:
    """So that a backend's spans, and those of an instrumented HTTP library, are children of the attempt."""
    recorder, transport = look(BUSY, SLOW)
    ids = [span.context.span_id for span in recorder.attempts()]
    trace_id = recorder.call.context.trace_id
    sent = [headers["traceparent"].rpartition("-")[0] for headers in transport.headers]
    assert sent == [f"00-{trace_id:032x}-{id_:016x}" for id_ in ids]
    assert transport.current == ids
    assert [seconds(span) for span in recorder.attempts()] == [(0.0, 0.0), (0.5, 3.5)]


def test_the_server_is_told_without_the_secrets_of_its_address() -> None:
    """On the attempt, the call and the metrics."""
    recorder, _ = look(SLOW)
    for span in recorder.spans:
        assert (span.attributes["server.address"], span.attributes["server.port"]) == ("example.com", 443)
    assert "pw" not in recorder.everything()
    (duration,) = recorder.metrics()["gen_ai.client.operation.duration"]
    assert duration.attributes["server.address"] == "example.com"


def test_an_attempt_begins_when_it_is_sent() -> None:
    """The time that a call queues for a place is the call's, not its attempt's."""
    recorder = Recorder()
    limit = rl.ConcurrencyLimit(1, clock=recorder.clock)
    transport = Looking(SLOW)
    stack = rl.standard_stack(telemetry=recorder.stage, clock=recorder.clock, concurrency=limit)
    pipeline = rl.Pipeline(stack, transport, clock=recorder.clock)

    async def scenario() -> None:
        await asyncio.gather(whole(pipeline, ASK), whole(pipeline, ASK))

    run_virtual(scenario())
    assert [seconds(call) for call in recorder.calls] == [(0.0, 3.0), (0.0, 6.0)]
    assert [seconds(*recorder.attempts(call)) for call in recorder.calls] == [(0.0, 3.0), (3.0, 6.0)]


async def twice(request: rl.Request, call_next: rl.Handler) -> rl.Response:
    """A stage that takes its time, and asks again."""
    (await call_next(request)).close()
    await asyncio.sleep(1.0)
    response = await call_next(request)
    await asyncio.sleep(1.0)
    return response


@pytest.mark.parametrize("transport", [Looking(SLOW), ScriptedTransport(SLOW)], ids=["sent", "told"])
def test_attempts_have_their_own_ends(transport) -> None:
    """What a stage does between and after them is the call's time."""
    recorder = Recorder()
    stack = [recorder.stage, twice, rl.Retry(clock=recorder.clock)]
    run_virtual(whole(rl.Pipeline(stack, transport, clock=recorder.clock), ASK))
    assert [seconds(span) for span in recorder.attempts()] == [(0.0, 3.0), (4.0, 7.0)]
    assert seconds(recorder.call) == (0.0, 8.0)
    sent = [headers["traceparent"].split("-")[2] for headers in getattr(transport, "headers", ())]
    assert sent in ([], [f"{span.context.span_id:016x}" for span in recorder.attempts()])


def test_a_shared_call_that_its_first_caller_left_sends_the_ids_of_spans_that_there_are() -> None:
    """It goes on for those who joined, in the trace of the one who left, and begins no spans that nobody would end."""
    recorder = Recorder()
    transport = Looking([1.0, BUSY], SLOW)
    stack = rl.standard_stack(
        telemetry=recorder.stage,
        clock=recorder.clock,
        coalesce=rl.Coalesce(clock=recorder.clock),
        jitter=None,
    )
    pipeline = rl.Pipeline(stack, transport, clock=recorder.clock)

    async def scenario() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.gather(cancelled(pipeline, ASK), whole(pipeline, ASK))
            pytest.fail("the first caller had time")
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait([task])

    run_virtual(scenario())
    sent = {headers["traceparent"].split("-")[2] for headers in transport.headers}
    assert len(sent) == 2
    assert sent <= {f"{span.context.span_id:016x}" for span in recorder.spans}
    left_early, joined = recorder.calls
    assert left_early.attributes["resilient_llm.outcome"] == "abandoned"
    assert (joined.attributes["resilient_llm.outcome"], len(recorder.attempts(joined))) == ("completed", 0)


def test_the_callers_context_is_as_it_was() -> None:
    """The call is a child of the caller's span, which is the current one again after it, and in a stream."""
    recorder = Recorder()
    tracer = recorder.tracers.get_tracer("application")
    stack = [
        recorder.stage,
        rl.StreamRecovery("restart"),
        rl.Retry(clock=recorder.clock),
        rl.ErrorClassifier(),
    ]
    transport = Looking([rl.TextDelta("a"), 1.0, rl.ModelUnavailableError("reset")], BUSY, SLOW)
    pipeline = rl.Pipeline(stack, transport, clock=recorder.clock)
    seen = []

    async def scenario() -> None:
        with tracer.start_as_current_span("application") as span:
            async with await pipeline(STREAM) as response:
                seen.extend([trace.get_current_span() is span async for _ in response])
            with contextlib.suppress(TimeoutError):
                await cancelled(pipeline, ASK)
            seen.append(trace.get_current_span() is span)

    run_virtual(scenario())
    assert len(seen) > 4
    assert all(seen)
    application = next(span for span in recorder.spans if span.name == "application")
    calls = [span for span in recorder.calls if span.name == "chat m"]
    assert [call.parent.span_id for call in calls] == [application.context.span_id] * 2
    assert len(recorder.attempts(calls[0])) == 3


def test_baggage_stays_here_and_nothing_is_sent_if_so_told() -> None:
    """What an application carries along is not for other people's servers; `propagate=False` sends no ids either."""
    before = context.attach(baggage.set_baggage("user", "somebody"))
    try:
        _, transport = look(SLOW)
        assert [set(headers) for headers in transport.headers] == [{"traceparent"}]
    finally:
        context.detach(before)
    _, transport = look(SLOW, recorder=Recorder(propagate=False))
    assert transport.headers == [{}]


def test_logs_of_a_call_belong_to_it(caplog) -> None:
    """Logging is inside, so that what it says is said while the span is the current one."""
    seen = []
    caplog.handler.addFilter(
        lambda _: seen.append(trace.get_current_span().get_span_context().span_id) or True
    )
    with caplog.at_level(logging.DEBUG, logger="resilient_llm"):
        recorder = play(BUSY, max_retries=0)
    ids = {span.context.span_id for span in recorder.spans}
    assert len(seen) == 2
    assert set(seen) <= ids


class Beginnings(SpanProcessor):
    """What is known of a span when it begins: all that a sampler sees."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []

    def on_start(self, span, parent_context=None) -> None:
        self.seen.append((span.name, dict(span.attributes)))


def test_samplers_see_what_is_known_at_the_start() -> None:
    """Operation, model, and the provider as long as there is only one that it can be."""
    recorder, beginnings = Recorder(), Beginnings()
    recorder.tracers.add_span_processor(beginnings)
    play(SLOW, recorder=recorder)
    known = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.provider.name": "scripted"}
    name, attributes = beginnings.seen[0]
    assert (name, {key: attributes.get(key) for key in known}) == ("chat m", known)
    rl.Pipeline([recorder.stage], ScriptedTransport("ok", name="other"))
    play(SLOW, recorder=recorder)
    assert "gen_ai.provider.name" not in beginnings.seen[2][1]
    assert [call.attributes["gen_ai.provider.name"] for call in recorder.calls] == ["scripted"] * 2


# Around it ...


def test_true_uses_the_applications_providers_and_costs_nothing_without_any() -> None:
    """Nothing is configured: nothing is sent along, and the call works."""

    async def scenario() -> str:
        async with rl.AsyncClient(transport=ScriptedTransport("ok"), telemetry=True) as llm:
            return await llm.generate("Hello")

    assert run_virtual(scenario()) == "ok"
    stack = rl.standard_stack(telemetry=True)
    assert isinstance(stack[0], rl.Telemetry)
    assert not any(isinstance(stage, rl.Telemetry) for stage in rl.standard_stack(telemetry=None))


@pytest.mark.parametrize("inner", [rl.Deadline(60), rl.StreamRecovery(), rl.Retry()])
def test_it_belongs_outermost(inner) -> None:
    """Inside of what makes several attempts one call it would tell of each by itself."""
    retry = [] if isinstance(inner, rl.Retry) else [rl.Retry()]
    with pytest.raises(rl.CompositionError, match="put Telemetry before"):
        rl.Pipeline([inner, rl.Telemetry(), *retry], ScriptedTransport("ok"))
    with pytest.raises(rl.CompositionError, match="two Telemetry"):
        rl.Pipeline([rl.Telemetry(), rl.Telemetry()], ScriptedTransport("ok"))


def test_without_opentelemetry_it_says_what_to_install() -> None:
    """And nothing else needs it."""
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import resilient_llm as rl; rl.standard_stack()\n"
        "try: rl.Telemetry()\n"
        "except ModuleNotFoundError as error: print(error)\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'resilient-llm[otel]'" in shown.stdout
