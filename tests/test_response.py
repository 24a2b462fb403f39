"""The response: commit, settle once, hooks, limits."""

from __future__ import annotations

import asyncio
import gc

import attrs
import pytest

from resilient_llm.commit import commit, whole
from resilient_llm.errors import ModelResponseInvalidError, ModelTimeoutError, ModelUnavailableError
from resilient_llm.events import (
    ContentSeen,
    Finish,
    ReasoningDelta,
    Result,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    UsageEvent,
)
from resilient_llm.models import Request, Usage
from resilient_llm.response import Outcome, OutcomeKind, Response, ResponseInfo, observe
from resilient_llm.testing import ScriptedTransport, run_virtual

ASK = ({"role": "user", "content": "Hello"},)
STREAM = Request(messages=ASK, stream=True)
WHOLE = Request(messages=ASK)
BROKEN = ModelUnavailableError("reset")


async def opened(*steps, request: Request = STREAM) -> tuple[Response, ScriptedTransport]:
    transport = ScriptedTransport(list(steps))
    return await transport(request), transport


async def test_a_stream_commits_at_its_first_content() -> None:
    """The await returns when text can be handed over, not before and not later."""
    response, _ = await opened(UsageEvent(Usage(prompt_tokens=3)), TextDelta("a"), BROKEN)
    async with response:
        assert await anext(response) == UsageEvent(Usage(prompt_tokens=3))
        assert await anext(response) == TextDelta("a")
        assert response.outcome is None


@pytest.mark.parametrize("request_", [STREAM, WHOLE], ids=["stream", "whole"])
async def test_accounts_can_see_the_tokens_that_the_backend_told(request_) -> None:
    """When a response settles, `usage` is what was told last, whoever has read how much of it."""
    told = Usage(prompt_tokens=3), Usage(prompt_tokens=3, completion_tokens=1)
    response, _ = await opened(
        *(UsageEvent(told[0]), TextDelta("a"), TextDelta("b")),
        *(UsageEvent(told[1]), Finish("stop")),
        request=request_,
    )
    seen = []
    response.on_settle(lambda _: seen.append(response.usage))
    await response.completion()
    assert seen == [told[1]]


async def test_no_usage_told_is_an_empty_one() -> None:
    """A backend that tells nothing leaves every figure None."""
    response, _ = await opened(TextDelta("a"), Finish("stop"))
    await response.completion()
    assert response.usage == Usage()


@pytest.mark.parametrize(
    "step",
    [TextDelta("a"), ReasoningDelta("a"), ToolCall(0, "id", "f", "{}"), Result(1)],
    ids=lambda s: type(s).__name__,
)
async def test_every_kind_of_content_commits(step) -> None:
    """Text, reasoning and whole tool calls are all something the caller sees."""
    response, transport = await opened(step, BROKEN)
    response.close()
    assert transport.open_bodies == 0


async def test_a_failure_before_the_commit_is_raised_by_the_call() -> None:
    """What breaks before any content can be repeated: there is no response."""
    with pytest.raises(ModelUnavailableError) as caught:
        await opened(UsageEvent(Usage()), BROKEN)
    assert caught.value.partial is None


async def test_a_whole_call_commits_at_its_end() -> None:
    """A whole call that breaks half-way raises, with what had come as `partial`."""
    with pytest.raises(ModelUnavailableError) as caught:
        await opened(TextDelta("half an "), TextDelta("answer"), BROKEN, request=WHOLE)
    assert caught.value.partial.text == "half an answer"


async def test_tool_fragments_are_held_back_and_told() -> None:
    """A tool call is handed over whole; its fragments count as content on the wire."""
    notices = []
    request = attrs.evolve(STREAM, observers=(notices.append,))
    response, _ = await opened(
        ToolCallDelta(0, "call", "add", '{"a":'),
        ToolCallDelta(0, "", "", "1}"),
        Finish("tool_calls"),
        request=request,
    )
    assert [event async for event in response] == [
        ToolCall(0, "call", "add", '{"a":1}'),
        Finish("tool_calls"),
    ]
    assert notices == [ContentSeen(), ContentSeen()]


async def test_tool_fragments_are_handed_over_when_asked_for() -> None:
    """With `tool_deltas=True` the first fragment commits."""
    request = attrs.evolve(STREAM, extensions={"tool_deltas": True})
    response, _ = await opened(ToolCallDelta(0, "call", "add", '{"a":'), BROKEN, request=request)
    assert await anext(response) == ToolCallDelta(0, "call", "add", '{"a":')
    response.close()


async def test_completed_is_settled_when_the_end_is_received() -> None:
    """Nobody has to poll past the last event for the call to count as complete."""
    response, transport = await opened(TextDelta("a"), Finish("stop"))
    outcomes = []
    response.on_settle(outcomes.append)
    await anext(response)
    assert await anext(response) == Finish("stop")
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.COMPLETED]
    assert transport.open_bodies == 0
    with pytest.raises(StopAsyncIteration):
        await anext(response)


async def test_a_settled_response_tells_late_accounts_at_once() -> None:
    """`on_settle` after the end calls back immediately, with the same outcome."""
    response, _ = await opened(TextDelta("a"), Finish("stop"), request=WHOLE)
    outcomes = []
    response.on_settle(outcomes.append)
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.COMPLETED]


async def test_an_early_close_is_abandoned() -> None:
    """Leaving the block early closes the body once and settles as abandoned."""
    response, transport = await opened(TextDelta("a"), TextDelta("b"), Finish("stop"))
    outcomes = []
    response.on_settle(outcomes.append)
    async with response:
        await anext(response)
    response.close()
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.ABANDONED]
    assert transport.open_bodies == 0


async def test_the_callers_own_error_is_not_the_backends() -> None:
    """An exception in the caller's block counts as abandoned."""
    response, _ = await opened(TextDelta("a"), Finish("stop"))
    with pytest.raises(KeyError):
        async with response:
            raise KeyError
    assert response.outcome.kind is OutcomeKind.ABANDONED


def test_a_cancelled_reader_settles_as_abandoned() -> None:
    """Cancelling a task that waits for the next event abandons the response and closes the body."""

    async def scenario() -> None:
        response, transport = await opened(TextDelta("a"), 60.0, Finish("stop"))
        reading = asyncio.ensure_future(response.completion())
        await asyncio.sleep(1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert response.outcome.kind is OutcomeKind.ABANDONED
        assert transport.open_bodies == 0

    run_virtual(scenario())


def test_a_cancelled_opening_closes_the_body() -> None:
    """Cancelling before the commit leaves no body open."""

    async def scenario() -> None:
        transport = ScriptedTransport([60.0, TextDelta("a"), Finish("stop")])
        opening = asyncio.ensure_future(transport(STREAM))
        await asyncio.sleep(1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert transport.open_bodies == 0

    run_virtual(scenario())


async def test_a_dropped_response_warns_and_settles() -> None:
    """A response that is never closed is settled as abandoned before the warning."""
    response, transport = await opened(TextDelta("a"), Finish("stop"))
    outcomes = []
    response.on_settle(outcomes.append)
    with pytest.warns(ResourceWarning, match="dropped without being closed"):  # noqa: PT031 - both drop it
        del response
        gc.collect()
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.ABANDONED]
    assert transport.open_bodies == 0


async def test_a_failure_in_mid_stream_is_translated_and_settles() -> None:
    """Error hooks run inner before outer; the accounts see the translated error; the text is attached."""
    response, transport = await opened(TextDelta("half"), OSError("reset"))
    seen, outcomes = [], []
    typed = ModelUnavailableError("reset")

    def inner(exc: Exception) -> Exception:
        seen.append(("inner", type(exc)))
        return typed

    def outer(exc: Exception) -> Exception:
        seen.append(("outer", type(exc)))
        return exc

    response.on_error(inner)
    response.on_error(outer)
    response.on_settle(outcomes.append)
    assert await anext(response) == TextDelta("half")
    with pytest.raises(ModelUnavailableError) as caught:
        await anext(response)
    assert seen == [("inner", OSError), ("outer", ModelUnavailableError)]
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.partial.text == "half"
    assert outcomes == [Outcome(OutcomeKind.FAILED, typed)]
    assert transport.open_bodies == 0


async def test_events_pass_through_the_edits_in_order() -> None:
    """`on_event` hooks edit what is handed over, and the completion agrees with it."""
    response, _ = await opened(TextDelta("a"), TextDelta("b"), Finish("stop"))

    def double(event):
        return TextDelta(event.text * 2) if isinstance(event, TextDelta) else event

    def exclaim(event):
        return TextDelta(event.text + "!") if isinstance(event, TextDelta) else event

    response.on_event(double)
    response.on_event(exclaim)
    assert (await response.completion()).text == "aa!bb!"


async def test_a_stream_gives_the_same_completion_as_its_events() -> None:
    """`completion()` after reading some events holds all of the answer."""
    response, _ = await opened(
        ReasoningDelta("hm"), TextDelta("a"), TextDelta("b"), UsageEvent(Usage(3, 2, 5)), Finish("length")
    )
    await anext(response)
    done = await response.completion()
    assert (done.reasoning, done.text, done.finish_reason, done.usage) == (
        "hm",
        "ab",
        "length",
        Usage(3, 2, 5),
    )
    assert done.messages == [*ASK, {"role": "assistant", "content": "ab"}]


async def test_a_closed_response_has_no_completion() -> None:
    """Asking an abandoned response for its completion raises, with what had come."""
    response, _ = await opened(TextDelta("a"), TextDelta("b"), Finish("stop"))
    await anext(response)
    response.close()
    with pytest.raises(ModelResponseInvalidError) as caught:
        await response.completion()
    assert (caught.value.partial.text, caught.value.backend_fault) == ("a", False)


class Bound:
    def __init__(self, limit: float | None) -> None:
        self.limit = limit

    def seconds(self) -> float | None:
        return self.limit

    def error(self) -> ModelTimeoutError:
        return ModelTimeoutError(f"over {self.limit}")


def test_the_tightest_limit_bounds_each_pull() -> None:
    """A pull that takes longer than the tightest of several limits fails with that limit's error."""

    async def scenario() -> None:
        response, transport = await opened(TextDelta("a"), 4.0, TextDelta("b"), 6.0, Finish("stop"))
        for seconds in (None, 9.0, 5.0):
            response.limit(Bound(seconds))
        await anext(response)
        assert await anext(response) == TextDelta("b")
        with pytest.raises(ModelTimeoutError, match=r"over 5\.0"):
            await anext(response)
        assert asyncio.get_running_loop().time() == 9.0
        assert response.outcome.kind is OutcomeKind.FAILED
        assert transport.open_bodies == 0

    run_virtual(scenario())


async def test_a_bodys_own_timeout_is_not_taken_for_the_limits() -> None:
    """A TimeoutError that the body raised goes through the error hooks as it is."""
    response, _ = await opened(TextDelta("a"), TimeoutError("socket"))
    response.limit(Bound(5.0))
    response.on_error(lambda exc: ModelUnavailableError(str(exc)))
    await anext(response)
    with pytest.raises(ModelUnavailableError, match="socket"):
        await anext(response)


async def test_observe_accounts_exactly_once() -> None:
    """`observe` reports a failed opening at once, and an opened response when it settles."""
    outcomes = []

    async def fails() -> Response:
        raise BROKEN

    with pytest.raises(ModelUnavailableError):
        await observe(fails(), outcomes.append)
    assert outcomes == [Outcome(OutcomeKind.FAILED, BROKEN)]

    response = await observe(ScriptedTransport("a b")(STREAM), outcomes.append)
    assert len(outcomes) == 1
    response.close()
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.FAILED, OutcomeKind.ABANDONED]


async def test_the_result_of_an_operation_that_is_no_chat() -> None:
    """`result()` drains the response and gives the value."""
    response, _ = await opened(Result([1, 2]), Finish("stop"), request=Request("models"))
    assert await response.result() == [1, 2]


async def test_the_repr_shows_the_state() -> None:
    """The repr says whether the response is open, and how much is waiting."""
    response, _ = await opened(TextDelta("a"), Finish("stop"))
    assert repr(response) == "<Response open from scripted, 1 events ready>"
    response.close()
    assert "abandoned" in repr(response)


CUT = ToolCall(0, "call", "add", '{"a":')


def test_a_whole_answer_with_a_cut_tool_call_is_unusable() -> None:
    """What came in one piece is judged like a stream: cut arguments are an error, with the text as partial."""
    outcomes = []
    with pytest.raises(ModelResponseInvalidError, match="add") as caught:
        whole([TextDelta("let me see"), CUT, Finish("tool_calls")], ResponseInfo("b"), WHOLE).on_settle(
            outcomes.append
        )
    assert caught.value.partial.text == "let me see"
    assert outcomes == []


async def test_a_stream_that_ends_in_a_cut_tool_call_fails_after_its_text() -> None:
    """The text is handed over; the end is an error instead of half a call."""
    delta = ToolCallDelta(0, "call", "add", '{"a":')
    response, transport = await opened(TextDelta("let me see"), delta, Finish("tool_calls"))
    assert await anext(response) == TextDelta("let me see")
    with pytest.raises(ModelResponseInvalidError) as caught:
        await anext(response)
    assert caught.value.partial.text == "let me see"
    assert response.outcome.kind is OutcomeKind.FAILED
    assert transport.open_bodies == 0


def test_a_response_closed_by_another_task_ends_its_reader() -> None:
    """Whoever reads meanwhile sees the end, not an error of the machinery."""

    class Waiting:
        def __init__(self) -> None:
            self.info = ResponseInfo("b")
            self.batches = [[TextDelta("a")]]

        async def receive(self):
            if self.batches:
                return self.batches.pop()
            await asyncio.sleep(1.0)
            return []

        def close(self) -> None:
            pass

    async def scenario() -> None:
        response = await commit(Waiting(), STREAM)
        await anext(response)
        reader = asyncio.ensure_future(anext(response, None))
        await asyncio.sleep(0.5)
        response.close()
        assert await reader is None

    run_virtual(scenario())


async def test_the_first_outcome_stands() -> None:
    """Closing a completed response changes nothing, and its body is closed once."""
    response, transport = await opened(TextDelta("a"), Finish("stop"))
    await response.completion()
    response.close()
    async with response:
        pass
    assert response.outcome.kind is OutcomeKind.COMPLETED
    assert transport.open_bodies == 0


def test_what_the_body_says_of_its_closing_is_not_the_readers() -> None:
    """A connection that is closed under a read fails that read: the reader sees the end all the same."""

    async def scenario() -> None:
        response, _ = await opened(TextDelta("a"), 1.0, BROKEN)
        await anext(response)
        reader = asyncio.ensure_future(anext(response, None))
        await asyncio.sleep(0.5)
        response.close()
        assert await reader is None
        assert response.outcome.kind is OutcomeKind.ABANDONED

    run_virtual(scenario())


async def test_a_response_can_be_read_in_batches() -> None:
    """`receive` gives what is there, then what comes, edited and noted like single events; then nothing."""
    response, _ = await opened(UsageEvent(Usage(1)), TextDelta("a"), TextDelta("b"), Finish("stop"))
    response.on_event(lambda event: TextDelta("A") if event == TextDelta("a") else event)
    batches = [await response.receive() for _ in range(4)]
    assert batches == [[UsageEvent(Usage(1)), TextDelta("A")], [TextDelta("b")], [Finish("stop")], []]
    assert (await response.completion()).text == "Ab"


async def test_a_single_read_returns_even_without_an_event() -> None:
    """With `once` what brings nothing that can be handed over ends the read, too, and the next one goes on."""
    response, _ = await opened(TextDelta("a"), UsageEvent(Usage(1)), TextDelta("b"), Finish("stop"))
    assert await response.receive() == [TextDelta("a")]
    assert await response.receive(once=True) == [UsageEvent(Usage(1))]
    assert await response.receive(once=True) == [TextDelta("b")]
    response.close()


async def test_a_completion_can_be_asked_for_twice() -> None:
    """It is the same both times; it names the model that answered, and a call without stages was one attempt."""
    response, _ = await opened(TextDelta("a"), Finish("stop"), request=attrs.evolve(WHOLE, model="asked"))
    first, again = await response.completion(), await response.completion()
    assert (first.text, first.model, first.attempts) == ("a", "scripted-model", 1)
    assert again == first


async def test_what_came_with_a_failure_is_in_its_error_alone() -> None:
    """Nothing is handed over after it, and an error that nobody translated has no cause."""
    response, _ = await opened(TextDelta("a"), UsageEvent(Usage(1)), ModelUnavailableError("reset"))
    await anext(response)
    with pytest.raises(ModelUnavailableError) as caught:
        await anext(response)
    assert (caught.value.__cause__, caught.value.partial.usage) == (None, Usage(1))
    assert [event async for event in response] == []


def test_a_limit_ends_with_its_pull() -> None:
    """What the reader does between two events may take longer."""

    async def scenario() -> None:
        response, _ = await opened(TextDelta("a"), TextDelta("b"), Finish("stop"))
        response.limit(Bound(5.0))
        await anext(response)
        assert await anext(response) == TextDelta("b")
        await asyncio.sleep(60)
        assert await anext(response) == Finish("stop")

    run_virtual(scenario())


class Batches:
    """A body that brings several events at a time."""

    info = ResponseInfo(cached=True)

    def __init__(self, *batches) -> None:
        self.batches = list(batches)

    async def receive(self):
        return self.batches.pop(0)

    def close(self) -> None:
        self.batches.clear()


async def test_text_behind_a_count_of_tokens_is_handed_over_at_once() -> None:
    """A read that begins with what nobody waits for ends when it brings something else, but not with nothing."""
    first, second = ([UsageEvent(Usage(number)), TextDelta(str(number))] for number in (1, 2))
    async with await commit(Batches(first, [], second, [], [Finish("stop")]), STREAM) as response:
        assert await response.receive() == first
        assert await response.receive() == second
        done = await response.completion()
    assert (done.text, done.attempts, done.cached) == ("12", 0, True)
