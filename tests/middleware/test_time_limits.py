"""AttemptTimeout and Deadline, in virtual time."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from resilient_llm.errors import DeadlineExceededError, ModelTimeoutError, ModelUnavailableError
from resilient_llm.events import Finish, TextDelta, ToolCall, ToolCallDelta, UsageEvent
from resilient_llm.middleware.attempt_timeout import AttemptTimeout
from resilient_llm.middleware.deadline import Deadline
from resilient_llm.models import Request, Usage
from resilient_llm.pipeline import Pipeline
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

ASK = Request(messages=({"role": "user", "content": "Hello"},))
STREAM = attrs.evolve(ASK, stream=True)


def play(
    *steps, request: Request = ASK, deadline: float | None = None, stages=None, within: float | None = None
):
    """Run one scripted call. Gives the completion or the error, the time, and the transport."""

    async def scenario():
        clock = FakeClock()
        transport = ScriptedTransport(list(steps))
        middleware = [AttemptTimeout(clock=clock)] if stages is None else stages(clock)
        if within is not None:
            middleware.insert(0, Deadline(within, clock=clock))
        call = attrs.evolve(request, deadline=deadline)
        try:
            response = await Pipeline(middleware, transport, clock=clock)(call)
            result = await response.completion()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the test judges it
            result = exc
        assert transport.open_bodies == 0
        return result, asyncio.get_running_loop().time()

    return run_virtual(scenario())


def test_a_silent_stream_ends_at_the_first_token_limit() -> None:
    """No content for 60 s is MODEL_TIMEOUT and counts against the backend."""
    error, now = play(1000.0, TextDelta("a"), Finish("stop"), request=STREAM)
    assert isinstance(error, ModelTimeoutError)
    assert (now, error.backend_fault, error.retryable) == (60.0, True, True)
    assert "60 s" in str(error)


def test_what_is_no_content_does_not_feed_the_timer() -> None:
    """Usage and pings before the first token do not extend its limit."""
    _, now = play(50.0, UsageEvent(Usage()), 50.0, TextDelta("a"), Finish("stop"), request=STREAM)
    assert now == 60.0


def test_a_stalled_stream_ends_at_the_idle_limit() -> None:
    """After content, 30 s of silence end the stream, with what had come."""
    error, now = play(10.0, TextDelta("half"), 29.0, TextDelta(" of"), 31.0, Finish("stop"), request=STREAM)
    assert isinstance(error, ModelTimeoutError)
    assert (now, error.partial.text) == (69.0, "half of")
    assert "stalled" in str(error)


def test_held_back_fragments_feed_the_timer() -> None:
    """A tool call that takes minutes to write is no hang: its fragments count, one by one."""
    steps = [
        s
        for i in range(10)
        for s in (20.0, ToolCallDelta(0, "c" if not i else "", "f" if not i else "", "1"))
    ]
    done, now = play(*steps, Finish("tool_calls"), request=STREAM)
    assert done.tool_calls == (ToolCall(0, "c", "f", "1" * 10),)
    assert now == 200.0


def test_held_back_fragments_that_stall_end_at_the_idle_limit() -> None:
    """Once a fragment came, the idle limit counts, not the first token's."""
    error, now = play(5.0, ToolCallDelta(0, "c", "f", "1"), 100.0, Finish("tool_calls"), request=STREAM)
    assert isinstance(error, ModelTimeoutError)
    assert now == 35.0


def test_a_whole_answer_may_take_minutes() -> None:
    """A whole call has 600 s, for nothing shows before its end."""
    done, _ = play(599.0, TextDelta("slow"), Finish("stop"))
    assert done.text == "slow"
    error, now = play(601.0, TextDelta("slow"), Finish("stop"))
    assert isinstance(error, ModelTimeoutError)
    assert now == 600.0


@pytest.mark.parametrize(
    ("request_", "extensions", "expected"),
    [
        (ASK, {"attempt_timeout": 7.0}, 7.0),
        (STREAM, {"first_token_timeout": 8.0}, 8.0),
        (STREAM, {"attempt_timeout": 9.0}, 9.0),
        (STREAM, {"attempt_timeout": 9.0, "first_token_timeout": 8.0}, 8.0),
    ],
)
def test_a_calls_own_limits_win(request_, extensions, expected) -> None:
    """Per-call limits replace the stage's."""
    _, now = play(1000.0, Finish("stop"), request=attrs.evolve(request_, extensions=extensions))
    assert now == expected


def test_a_limit_of_none_is_no_limit() -> None:
    """`None` switches a limit off."""
    request = attrs.evolve(STREAM, extensions={"first_token_timeout": None, "idle_timeout": None})
    done, now = play(5000.0, TextDelta("a"), 5000.0, TextDelta("b"), Finish("stop"), request=request)
    assert (done.text, now) == ("ab", 10_000.0)


def test_a_nearer_deadline_bounds_the_attempt() -> None:
    """An attempt ends at the deadline; if that left less than 5 s, the backend is not blamed."""
    error, now = play(1000.0, Finish("stop"), deadline=20.0)
    assert (now, error.backend_fault) == (20.0, True)
    error, now = play(1000.0, Finish("stop"), deadline=4.0)
    assert (now, error.backend_fault) == (4.0, False)


def test_the_deadline_bounds_a_stream_that_never_stalls() -> None:
    """A stream that dribbles on is cut at the deadline and says so, with what had come."""
    steps = [s for _ in range(100) for s in (1.0, TextDelta("x"))]
    error, now = play(*steps, Finish("stop"), request=STREAM, within=10.5)
    assert isinstance(error, DeadlineExceededError)
    assert now == 10.5
    assert error.partial.text == "x" * 10
    assert isinstance(error.__cause__, ModelTimeoutError)


def test_a_hung_backend_is_over_at_the_deadline() -> None:
    """A deadline of 2 s against a hung server ends the call in 2 s, the timeout attached."""
    error, now = play(1000.0, Finish("stop"), within=2.0)
    assert isinstance(error, DeadlineExceededError)
    assert now == 2.0
    assert isinstance(error.__cause__, ModelTimeoutError)


def test_the_deadline_holds_without_an_attempt_timeout() -> None:
    """Alone, it ends the call a tenth of a second later, whole or streamed."""
    error, now = play(1000.0, Finish("stop"), within=2.0, stages=lambda clock: [])
    assert isinstance(error, DeadlineExceededError)
    assert now == pytest.approx(2.1)
    error, now = play(
        1.0, TextDelta("a"), 1000.0, Finish("stop"), request=STREAM, within=2.0, stages=lambda clock: []
    )
    assert isinstance(error, DeadlineExceededError)
    assert now == pytest.approx(2.1)


def test_a_deadline_in_the_past_sends_nothing() -> None:
    """A call that begins too late is rejected here."""
    error, now = play(TextDelta("a"), Finish("stop"), deadline=-1.0, within=10.0)
    assert isinstance(error, DeadlineExceededError)
    assert (now, error.attempts) == (0.0, 0)


def test_errors_before_the_deadline_pass_unchanged() -> None:
    """Only what ran into the deadline is translated."""
    error, _ = play(1.0, ModelUnavailableError("reset"), within=10.0)
    assert isinstance(error, ModelUnavailableError)
    error, _ = play(TimeoutError("someone else's"), within=10.0)
    assert type(error) is TimeoutError


def test_an_error_that_passes_keeps_its_cause() -> None:
    """An error that has nothing to do with the deadline says what caused it, above this stage as below."""
    failure = ModelUnavailableError("reset")
    failure.__cause__ = ConnectionResetError()
    error, _ = play(failure, within=10.0)
    assert error is failure
    assert isinstance(error.__cause__, ConnectionResetError)


def test_the_callers_own_deadline_wins() -> None:
    """A request that brings a deadline keeps it."""
    _, now = play(1000.0, Finish("stop"), deadline=3.0, within=100.0)
    assert now == 3.0


def test_no_deadline_at_all() -> None:
    """`Deadline(None)` sets none."""
    done, _ = play(500.0, TextDelta("a"), Finish("stop"), stages=lambda clock: [Deadline(None, clock=clock)])
    assert done.text == "a"


@pytest.mark.parametrize(
    "options", [{"first_token": 0}, {"idle": -1}, {"whole": "1"}, {"idle": float("inf")}]
)
def test_impossible_limits_are_rejected(options) -> None:
    """Wrong types and ranges fail at construction, naming the option."""
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        AttemptTimeout(**options)
    with pytest.raises(ValueError, match="seconds"):
        Deadline(0)


def test_a_hang_before_the_deadline_is_the_attempts_own() -> None:
    """Only what the deadline cut short is called so."""
    error, now = play(
        1000.0, Finish("stop"), request=attrs.evolve(ASK, extensions={"attempt_timeout": 5.0}), within=100.0
    )
    assert type(error) is ModelTimeoutError
    assert now == 5.0
