"""StreamRecovery: broken streams begin again or go on, as their callers asked, in virtual time."""

from __future__ import annotations

import attrs
import pytest
from middleware.streams import ASK, broken, events_of, reset, stack, text_of, texts, whole

from resilient_llm.commit import whole as whole_answer
from resilient_llm.errors import (
    ModelContentFilteredError,
    ModelLoadingError,
    ModelOverloadedError,
    ModelUnavailableError,
)
from resilient_llm.events import (
    Finish,
    ReasoningDelta,
    Restarted,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    UsageEvent,
    Waiting,
)
from resilient_llm.middleware import Retry, StreamRecovery
from resilient_llm.models import Attempt, PruneReport, Usage
from resilient_llm.pipeline import Pipeline
from resilient_llm.policy.retry_budget import RetryBudget
from resilient_llm.response import OutcomeKind, ResponseInfo
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual

# Raise ...


def test_without_being_asked_nothing_is_repeated() -> None:
    """The default mode gives the reader the typed error, with the text so far."""
    seen, error, transport, _ = events_of("raise", broken("one |two "), whole("never"))
    assert seen == texts("one |two ")
    assert isinstance(error, ModelUnavailableError)
    assert (error.partial.text, error.attempts, len(transport.requests)) == ("one two ", 1, 1)


@pytest.mark.parametrize("mode", ["raise", "restart", "resume"])
def test_a_whole_call_is_repeated_by_retry_alone(mode) -> None:
    """Nothing was delivered, so nothing needs to be recovered, and nothing is wrapped."""
    request = attrs.evolve(ASK, stream=False)
    seen, error, transport, _ = events_of(mode, broken("one "), whole("one |two"), request=request)
    assert (text_of(seen), error, len(transport.requests)) == ("one two", None, 2)
    assert not any(isinstance(event, Restarted) for event in seen)


def test_a_call_says_itself_what_it_wants() -> None:
    """The extension of a call wins over the stage's mode, both ways."""
    asked = attrs.evolve(ASK, extensions={"recovery": "restart"})
    seen, error, *_ = events_of("raise", broken("one "), whole("one |two"), request=asked)
    assert (text_of(seen), error) == ("one two", None)
    asked = attrs.evolve(ASK, extensions={"recovery": "raise"})
    _, error, transport, _ = events_of("restart", broken("one "), whole("one |two"), request=asked)
    assert error is not None
    assert len(transport.requests) == 1


def test_an_unknown_mode_is_refused() -> None:
    """A typing error is no mode."""
    with pytest.raises(ValueError, match="mode"):
        StreamRecovery("retry")  # type: ignore[arg-type]


# Restart ...


def test_a_restart_says_so_before_the_new_answer() -> None:
    """The reader is told the reason and the attempt, then gets the new answer from its beginning."""
    seen, error, transport, now = events_of("restart", broken("one |two "), whole("uno |dos"))
    assert error is None
    *old, told = seen[:3]
    assert old == texts("one |two ")
    assert isinstance(told, Restarted)
    assert isinstance(told.reason, ModelUnavailableError)
    assert (told.attempt, told.reason.partial.text) == (2, "one two ")
    assert seen[3:] == whole("uno |dos")
    assert now == 0.5
    assert [request.attempt for request in transport.requests] == [1, 2]
    assert "resume_from" not in transport.requests[1].extensions


def test_a_stream_may_break_many_times() -> None:
    """Each break begins the answer again, after a longer wait, as long as there are retries."""
    seen, error, transport, now = events_of(
        "restart", broken("a "), broken("b "), broken("c "), whole("d |e")
    )
    assert (text_of(seen), error) == ("d e", None)
    assert [event.attempt for event in seen if isinstance(event, Restarted)] == [2, 3, 4]
    assert (len(transport.requests), now) == (4, 0.5 + 1 + 2)


def test_the_completion_restarts_silently() -> None:
    """Who waits for the result sees the new answer alone, with a trace of both attempts."""

    async def scenario():
        pipeline, _ = stack("restart", [UsageEvent(Usage(7)), *broken("one ")], whole("uno |dos"))
        async with await pipeline(ASK) as response:
            return await response.completion()

    done = run_virtual(scenario())
    assert (done.text, done.attempts, done.usage, done.finish_reason) == ("uno dos", 2, Usage(), "stop")
    assert [type(attempt.error) for attempt in done.trace] == [ModelUnavailableError, type(None)]
    assert [attempt.number for attempt in done.trace] == [1, 2]
    assert done.messages[-1] == {"role": "assistant", "content": "uno dos"}


def test_failures_before_the_commit_and_after_it_count_together() -> None:
    """`max_retries` bounds all requests of one call, wherever each attempt failed."""
    scripts = [reset(), broken("a "), reset(), broken("b "), whole("never")]
    seen, error, transport, _ = events_of("restart", *scripts)
    assert len(transport.requests) == 4
    assert isinstance(error, ModelUnavailableError)
    assert (error.attempts, error.partial.text) == (4, "b ")
    assert text_of(seen) == "b "
    assert [attempt.number for attempt in error.trace] == [1, 2, 3, 4]


@pytest.mark.parametrize("mode", ["restart", "resume"])
def test_an_answer_that_must_not_be_repeated_ends_with_its_error(mode) -> None:
    """A filter's refusal in mid-stream is final; what was delivered is attached."""
    filtered = ModelContentFilteredError("refused")
    seen, error, transport, now = events_of(mode, broken("one ", filtered), whole("never"))
    assert (seen, error) == (texts("one "), filtered)
    assert (error.partial.text, error.attempts, len(transport.requests), now) == ("one ", 1, 1, 0.0)


def test_spent_retries_end_the_stream_with_its_own_error() -> None:
    """With `max_retries=0` there is nothing to recover with."""
    request = attrs.evolve(ASK, extensions={"max_retries": 0})
    _, error, transport, _ = events_of("restart", broken("one "), whole("never"), request=request)
    assert (error.partial.text, len(transport.requests), len(error.trace)) == ("one ", 1, 1)


def test_a_spent_budget_ends_the_stream_and_says_so() -> None:
    """Recovery is paid from the retry budget; an answer that is complete in the end gives the last cost back."""
    budget = RetryBudget(capacity=30)
    events_of("restart", broken("a "), broken("b "), whole("c"), retry_budget=budget)
    assert budget.tokens("") == 16
    events_of("restart", broken("a "), broken("b "), whole("c"), retry_budget=budget)
    assert budget.tokens("") == 2
    _, error, transport, _ = events_of("restart", broken("a "), whole("c"), retry_budget=budget)
    assert "budget" in str(error)
    assert (len(transport.requests), error.partial.text) == (1, "a ")


def test_a_server_delay_is_waited_out() -> None:
    """An error that names a wait, even in mid-stream, is given that wait."""
    busy = ModelOverloadedError("busy", retry_after=5.0)
    *_, now = events_of("restart", broken("a ", busy), whole("b"))
    assert 5.0 <= now <= 5.5


def test_each_attempt_and_each_wait_is_told_once() -> None:
    """Observers see the broken stream's attempt, the wait, and the next attempt, in order and once each."""
    notices = []
    request = attrs.evolve(ASK, observers=(notices.append,))
    events_of("restart", broken("a "), reset(), whole("b"), request=request)
    told = [notice for notice in notices if isinstance(notice, Attempt | Waiting)]
    assert [type(notice) for notice in told] == [Attempt, Waiting, Attempt, Waiting, Attempt]
    attempts = [notice for notice in told if isinstance(notice, Attempt)]
    assert [attempt.number for attempt in attempts] == [1, 2, 3]
    assert [attempt.error is None for attempt in attempts] == [False, False, True]
    assert [attempt.waited for attempt in attempts] == [0.0, 0.5, 1.0]
    assert [notice.attempt for notice in told if isinstance(notice, Waiting)] == [1, 2]


def test_whole_tool_calls_are_dropped_with_the_rest() -> None:
    """What came before the restart is no part of the completion, calls and reasoning included."""
    call = ToolCall(0, "c", "f", "{}")

    async def scenario():
        first = [ReasoningDelta("hm"), call, ToolCallDelta(1, "d", "g", '{"a"'), reset()]
        pipeline, _ = stack("restart", first, [call, Finish("tool_calls")])
        async with await pipeline(ASK) as response:
            return await response.completion()

    done = run_virtual(scenario())
    assert (done.tool_calls, done.reasoning) == ((call,), "")


def test_tool_call_fragments_begin_again() -> None:
    """With `tool_deltas` the reader gets the fragments, the restart, the fragments again, and the call once."""
    request = attrs.evolve(ASK, extensions={"tool_deltas": True})
    pieces = [ToolCallDelta(0, "c", "f", '{"a"'), ToolCallDelta(0, "", "", ":1}")]
    seen, error, *_ = events_of(
        "restart", [pieces[0], reset()], [*pieces, Finish("tool_calls")], request=request
    )
    assert error is None
    assert isinstance(seen.pop(1), Restarted)
    assert seen == [pieces[0], *pieces, ToolCall(0, "c", "f", '{"a":1}'), Finish("tool_calls")]


def test_a_stream_that_does_not_break_is_the_same_in_every_mode() -> None:
    """Calls that come in fragments and whole are handed over once, as ever."""
    request = attrs.evolve(ASK, extensions={"tool_deltas": True})
    pieces = [ToolCallDelta(0, "c", "f", '{"a"'), ToolCallDelta(0, "", "", ":1}")]
    expected = [*pieces, ToolCall(0, "c", "f", '{"a":1}'), Finish("tool_calls")]
    for mode in ("raise", "restart", "resume"):
        seen, error, *_ = events_of(mode, [*pieces, Finish("tool_calls")], request=request)
        assert (seen, error) == (expected, None)


def test_a_model_that_loads_again_after_the_break_is_waited_for() -> None:
    """An error in the stream that says so costs no retry, and its attempt keeps its number."""
    notices = []
    request = attrs.evolve(ASK, observers=(notices.append,), extensions={"max_retries": 1})
    loading = ModelLoadingError("loading")
    seen, error, transport, now = events_of(
        "restart", broken("a ", loading), loading, whole("b"), request=request
    )
    assert (text_of(seen), error, now) == ("b", None, 2.0)
    assert [request.attempt for request in transport.requests] == [1, 2, 2]
    attempts = [notice for notice in notices if isinstance(notice, Attempt)]
    assert [attempt.number for attempt in attempts] == [1, 2, 2]


def test_what_stages_inside_say_of_the_answer_is_that_of_the_last() -> None:
    """Pruning, the target and what was sent belong to the answer that is shown; the target is asked again."""
    reports = iter([None, PruneReport(1, 9, 5, 6)])
    targets = iter(["first", "second"])

    async def says(request, call_next):
        shorter = attrs.evolve(request, messages=[{"role": "user", "content": f"pruned {request.attempt}"}])
        response = await call_next(shorter)
        response.pruned, response.target = next(reports), next(targets)
        return response

    async def scenario():
        transport = ScriptedTransport(broken("a"), whole("b|c"))
        retry = Retry(clock=FakeClock(), jitter=None)
        async with await Pipeline([StreamRecovery("restart"), retry, says], transport)(ASK) as response:
            assert response.target == "first"
            done = await response.completion()
            return done, response.target, transport.requests

    done, target, requests = run_virtual(scenario())
    assert (done.pruned.dropped, target) == (1, "second")
    assert done.sent == [{"role": "user", "content": "pruned 2"}]
    assert "target" not in requests[0].extensions
    assert requests[1].extensions["target"] == "first"


def test_an_answer_that_came_at_once_is_complete_at_once() -> None:
    """What cannot break any more is not watched: it has settled when it is handed over."""

    async def at_once(request):
        return whole_answer([TextDelta("a"), Finish("stop")], ResponseInfo("b"), request)

    async def scenario() -> None:
        stages = [StreamRecovery("restart"), Retry(clock=FakeClock())]
        response = await Pipeline(stages, at_once)(ASK)
        assert response.outcome is not None
        assert response.outcome.kind is OutcomeKind.COMPLETED
        assert (await response.completion()).text == "a"

    run_virtual(scenario())
