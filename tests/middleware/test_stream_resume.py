"""StreamRecovery in the mode "resume": the text goes on, or the answer begins anew."""

from __future__ import annotations

import attrs
import pytest
from middleware.streams import ASK, END, broken, events_of, reset, stack, text_of, texts, whole

from resilient_llm.errors import (
    DeadlineExceededError,
    ModelContextLengthError,
    ModelInvalidRequestError,
    ModelLoadingError,
    ModelOverloadedError,
)
from resilient_llm.events import (
    Finish,
    ReasoningDelta,
    Restarted,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    UsageEvent,
)
from resilient_llm.models import Attempt, Usage
from resilient_llm.pipeline import Pipeline
from resilient_llm.presets import standard_stack
from resilient_llm.testing import FakeClock, ScriptedTransport, run_virtual


def beginnings(transport) -> list[str | None]:
    """With what each request had its answer begin."""
    return [request.extensions.get("resume_from") for request in transport.requests]


def test_the_text_goes_on_as_if_nothing_had_happened() -> None:
    """The second request has the text so far as the beginning of its answer; the reader gets the rest."""
    seen, error, transport, now = events_of("resume", broken("one |two "), whole(" three"))
    assert error is None
    assert seen == [*texts("one |two "), TextDelta("three"), END]
    assert beginnings(transport) == [None, "one two"]
    assert [request.attempt for request in transport.requests] == [1, 2]
    assert transport.requests[1].messages == ASK.messages
    assert now == 0.5


def test_an_answer_that_breaks_again_goes_on_with_the_longer_text() -> None:
    """What the first and the second response brought is the beginning for the third."""
    seen, error, transport, _ = events_of("resume", broken("a"), broken("b| "), broken(" c"), whole("d"))
    assert (text_of(seen), error) == ("ab cd", None)
    assert beginnings(transport) == [None, "a", "ab", "ab c"]
    assert not any(isinstance(event, Restarted) for event in seen)


def test_the_completion_is_the_whole_answer() -> None:
    """Text from all parts, usage and finish reason from the last, a trace of all."""

    async def scenario():
        pipeline, _ = stack(
            "resume", broken("one "), [TextDelta("two"), UsageEvent(Usage(9, 1, 10)), Finish("length")]
        )
        async with await pipeline(ASK) as response:
            done = await response.completion()
            return done, response.usage

    done, usage = run_virtual(scenario())
    assert (done.text, done.finish_reason, done.attempts) == ("one two", "length", 2)
    assert done.usage == usage == Usage(9, 1, 10)
    assert done.messages == [*ASK.messages, {"role": "assistant", "content": "one two"}]


def test_the_error_that_ends_it_has_the_whole_text() -> None:
    """`partial` holds all that was delivered, whichever response it came from."""
    _, error, transport, _ = events_of("resume", *[broken(f"{n} ") for n in range(9)])
    assert len(transport.requests) == 4
    assert (error.partial.text, error.attempts) == ("0 1 2 3 ", 4)


def test_an_error_before_the_continuation_has_the_whole_text() -> None:
    """So it is where the call that was to go on never began."""
    _, error, transport, _ = events_of("resume", broken("one "), ModelOverloadedError("busy"))
    assert isinstance(error, ModelOverloadedError)
    assert (error.partial.text, len(transport.requests)) == ("one ", 4)
    assert beginnings(transport) == [None, "one", "one", "one"]


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("one ", "two", "one two"),
        ("one ", " two", "one two"),
        ("one ", "  two", "one  two"),
        ("one", " two", "one two"),
        ("one", "two", "onetwo"),
        ("one\n\n", "\n\ntwo", "one\n\ntwo"),
        ("one\n\n", "\ntwo", "one\n\ntwo"),
        ("one \n", "\ntwo", "one \ntwo"),
        ("one\n", "\n\n|  two", "one\n\n  two"),
        ("one:\n  ", "\n|  |  two", "one:\n    two"),
        ("one ", "\ntwo", "one \ntwo"),
        ("one ", " | |two", "one  two"),
    ],
)
def test_no_space_is_doubled_or_lost_at_the_seam(before, after, text) -> None:
    """The beginning ends without white space; what the reader has of it already is not given again."""
    seen, _, transport, _ = events_of("resume", broken(before), whole(after))
    assert text_of(seen) == text
    assert beginnings(transport)[1] == before.rstrip()


def test_white_space_that_ends_the_answer_is_kept() -> None:
    """What was held back at the seam is handed over when nothing follows it."""
    seen, *_ = events_of("resume", broken("one "), whole(" |\n"))
    assert text_of(seen) == "one \n"
    assert seen[-1] == END


def test_an_answer_that_was_complete_only_gets_its_end() -> None:
    """A stream that broke after its last word goes on with nothing."""
    seen, error, *_ = events_of("resume", broken("all"), [END])
    assert (seen, error) == ([TextDelta("all"), END], None)


# Where it restarts instead ...


def restarts(first, request=ASK, **options) -> None:
    """The answer begins anew, with nothing to go on from."""
    seen, error, transport, _ = events_of("resume", first, whole("new"), request=request, **options)
    assert (text_of(seen), error) == ("new", None)
    assert sum(isinstance(event, Restarted) for event in seen) == 1
    assert beginnings(transport) == [None, None]


@pytest.mark.parametrize(
    "first",
    [
        [ReasoningDelta("hm"), *broken("a")],
        [ToolCall(0, "c", "f", "{}"), reset()],
        [TextDelta("a"), ToolCall(0, "c", "f", "{}"), ToolCallDelta(1, "d", "g", "{"), reset()],
        broken(" \n"),
    ],
    ids=["reasoning", "a tool call", "text and a tool call", "white space"],
)
def test_what_is_not_text_alone_begins_anew(first) -> None:
    """There is no way to give reasoning or calls back as a beginning, and none to go on from nothing."""
    restarts(first)


def test_an_answer_that_began_anew_may_be_gone_on_with() -> None:
    """What the reader dropped is no part of the beginning, nor what it held beside text."""
    first = [ReasoningDelta("hm"), *broken("old ")]
    seen, error, transport, _ = events_of("resume", first, broken("new "), whole("one"))
    assert (text_of(seen), error) == ("new one", None)
    assert beginnings(transport) == [None, None, "new"]


@pytest.mark.parametrize(
    "more",
    [
        {"params": {"tools": [{"type": "function"}]}},
        {"params": {"response_format": {"type": "json_object"}}},
        {"params": {"functions": [{"name": "f"}]}},
        {"extensions": {"body": {"grammar": "root ::= x"}}},
    ],
    ids=["tools", "a format", "functions", "a grammar"],
)
def test_an_answer_with_a_form_begins_anew(more) -> None:
    """Half an answer in a form goes on in no form: the server would begin the form again."""
    restarts(broken("a"), attrs.evolve(ASK, **more))


def test_an_empty_list_of_tools_is_no_form() -> None:
    """What asks for nothing hinders nothing."""
    request = attrs.evolve(ASK, params={"tools": [], "response_format": None})
    *_, transport, _ = events_of("resume", broken("a"), whole("b"), request=request)
    assert beginnings(transport) == [None, "a"]


def test_a_backend_that_is_not_known_to_go_on_begins_anew() -> None:
    """Nothing is guessed."""
    restarts(broken("a"), resumes=False)


def test_an_answer_that_does_not_go_on_is_a_new_one() -> None:
    """If another backend answers, and not from the beginning that it was sent, the reader is told."""

    class Fickle(ScriptedTransport):
        async def __call__(self, request):
            self.resumes = not self.requests
            return await super().__call__(request)

    async def scenario():
        clock = FakeClock()
        transport = Fickle(broken("old "), whole("new"))
        pipeline = Pipeline(standard_stack(clock=clock, recovery="resume"), transport, clock=clock)
        async with await pipeline(ASK) as response:
            return [event async for event in response]

    seen = run_virtual(scenario())
    assert text_of(seen) == "new"
    assert isinstance(seen[1], Restarted)


@pytest.mark.parametrize(
    "refusal",
    [
        ModelInvalidRequestError("no prefill with this model"),
        ModelContextLengthError("too long now"),
    ],
    ids=lambda error: error.code,
)
def test_a_refused_beginning_begins_anew(refusal) -> None:
    """The reader never sees the refusal; it is in the trace, and counts among the retries."""
    notices = []
    request = attrs.evolve(ASK, observers=(notices.append,))
    seen, error, transport, _ = events_of("resume", broken("old "), refusal, whole("new"), request=request)
    assert (text_of(seen), error) == ("new", None)
    assert isinstance(seen[1], Restarted)
    assert seen[1].reason is not refusal
    assert beginnings(transport) == [None, "old", None]
    assert [request.attempt for request in transport.requests] == [1, 2, 3]
    attempts = [notice for notice in notices if isinstance(notice, Attempt)]
    assert [(attempt.number, attempt.error) for attempt in attempts][1:] == [(2, refusal), (3, None)]


def test_a_refused_beginning_is_not_tried_again() -> None:
    """A backend that refused once is only restarted from then on."""
    refusal = ModelInvalidRequestError("no")
    seen, error, transport, _ = events_of("resume", broken("a"), refusal, broken("b"), whole("c"))
    assert (text_of(seen), error) == ("c", None)
    assert beginnings(transport) == [None, "a", None, None]


def test_a_refused_beginning_without_a_retry_left_ends_with_what_broke_the_stream() -> None:
    """The refusal is still not the caller's error."""
    request = attrs.evolve(ASK, extensions={"max_retries": 1})
    refusal = ModelInvalidRequestError("no")
    _, error, transport, _ = events_of("resume", broken("old "), refusal, whole("never"), request=request)
    assert error.code == "MODEL_UNAVAILABLE"
    assert (error.partial.text, len(transport.requests), error.attempts) == ("old ", 2, 2)


def test_a_deadline_is_no_refusal() -> None:
    """A call that runs out of time is not begun anew for that."""
    request = attrs.evolve(ASK, deadline=0.4)
    _, error, transport, now = events_of("resume", broken("old "), whole("never"), request=request)
    assert isinstance(error, DeadlineExceededError)
    assert (error.partial.text, len(transport.requests), now) == ("old ", 1, 0.0)


def test_a_model_that_is_loading_again_is_waited_for() -> None:
    """A local server that crashed and came back loads its model first; then the text goes on."""
    loading = [ModelLoadingError("loading")] * 20
    seen, error, transport, now = events_of("resume", broken("one "), *loading, whole("two"))
    assert (text_of(seen), error, now) == ("one two", None, 20.5)
    assert beginnings(transport)[1:] == ["one"] * 21
    assert {request.attempt for request in transport.requests} == {1, 2}
