"""Tool calls made whole, and answers judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.errors import LLMError, ModelContentFilteredError, ModelResponseInvalidError
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta, UsageEvent
from resilient_llm.models import Usage
from resilient_llm.wire.assembly import MAX_CALLS, MAX_LOOKS, Assembler, holds_content, parses


def fragment(index: int, arguments: str, name: str = "") -> ToolCallDelta:
    return ToolCallDelta(index, f"id{index}" if name else "", name, arguments)


def assemble(*events: Event, tool_deltas: bool = False) -> tuple[list[Event], LLMError | None]:
    assembler = Assembler(tool_deltas=tool_deltas)
    batched = assembler.feed(list(events))
    single = Assembler(tool_deltas=tool_deltas)
    assert [out for event in events for out in single.feed([event])] == batched
    return batched, assembler.failure


F = ToolCall(0, "id0", "f", '{"a":1}')
F_PIECES = [fragment(0, "", "f"), fragment(0, '{"a":'), fragment(0, "1}")]
G = ToolCall(1, "id1", "g", "[]")


def test_batches_without_calls_pass():
    """A batch of text, reasoning and usage is handed on as it is, without a copy."""
    batch: list[Event] = [ReasoningDelta("a"), TextDelta("b"), UsageEvent(Usage())]
    assert Assembler().feed(batch) is batch


def test_call_is_handed_over_at_the_finish():
    """A call is handed over whole, after what came beside it and before Finish."""
    assert assemble(*F_PIECES, TextDelta("x"), Finish("tool_calls")) == (
        [TextDelta("x"), F, Finish("tool_calls")],
        None,
    )


def test_call_is_handed_over_when_the_next_begins():
    """The first fragment of the next call brings the call before it."""
    assembler = Assembler()
    assert assembler.feed(list(F_PIECES)) == []
    assert assembler.feed([fragment(1, "[]", "g")]) == [F]
    assert assembler.feed([Finish("stop")]) == [G, Finish("stop")]


def test_interleaved_calls():
    """Fragments of several calls may be mixed; the calls come in order."""
    events = [
        fragment(0, "", "f"),
        fragment(1, "", "g"),
        fragment(1, "[]"),
        fragment(0, '{"a":1}'),
        Finish("stop"),
    ]
    assert assemble(*events)[0] == [F, G, Finish("stop")]


def test_fragments_when_asked_for():
    """With `tool_deltas` fragments come at once, and the whole call at its end."""
    events = assemble(*F_PIECES, fragment(1, "[]", "g"), Finish("stop"), tool_deltas=True)[0]
    assert events == [*F_PIECES, F, fragment(1, "[]", "g"), G, Finish("stop")]


def test_call_without_arguments():
    """No arguments at all are whole."""
    assert assemble(fragment(0, "", "f"), Finish("stop"))[0] == [ToolCall(0, "id0", "f", ""), Finish("stop")]


def test_legacy_call():
    """A legacy call keeps its empty id."""
    events = assemble(ToolCallDelta(0, "", "f", "{}"), Finish("function_call"))[0]
    assert events[0] == ToolCall(0, "", "f", "{}")


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "odd"])
@pytest.mark.parametrize(
    "cut", [[fragment(0, '{"a":', "f")], [ToolCall(0, "id0", "f", '{"a":')], [fragment(0, "{}")]]
)
def test_call_cut_in_its_arguments(reason: str, cut: list[Event]):
    """Arguments that do not parse, or a call without a name, make the answer unusable; Finish is not handed over."""
    events, failure = assemble(TextDelta("x"), *cut, Finish(reason))
    assert events == [TextDelta("x")]
    assert isinstance(failure, ModelResponseInvalidError)


@pytest.mark.parametrize("last", ['{"a":', ""])
def test_answer_cut_by_its_length(last: str):
    """An answer cut by its length is a completion without the call that it cut."""
    events, failure = assemble(*F_PIECES, fragment(1, last, "g"), Finish("length"))
    assert events == [F, Finish("length")]
    assert failure is None


def test_whole_call_at_its_length():
    """A last call that is whole is handed over also if the length ended the answer."""
    assert assemble(*F_PIECES, Finish("length"))[0] == [F, Finish("length")]


def test_more_fragments_after_the_end():
    """Arguments that go on after the call was handed over make the answer unusable, white space does not."""
    assert assemble(*F_PIECES, fragment(1, "[]", "g"), fragment(0, " "), Finish("stop"))[1] is None
    for tool_deltas in (False, True):
        events, failure = assemble(
            *F_PIECES, fragment(1, "[]", "g"), fragment(0, "x"), tool_deltas=tool_deltas
        )
        assert F in events
        assert fragment(0, "x") not in events
        assert isinstance(failure, ModelResponseInvalidError)


def test_whole_calls_pass():
    """Whole calls of an answer that came whole are handed over at once, behind calls that are not whole."""
    assert Assembler().feed([F]) == [F]
    assert assemble(F, G, Finish("stop"))[0] == [F, G, Finish("stop")]
    assert assemble(fragment(0, "", "f"), G, fragment(0, '{"a":1}'), Finish("stop"))[0] == [
        F,
        G,
        Finish("stop"),
    ]


@pytest.mark.parametrize("events", [[], [UsageEvent(Usage())], [TextDelta("x"), fragment(0, "{", "f")]])
def test_filtered(events: list[Event]):
    """An answer that was filtered before anything was said, or within a call, is the filter's error."""
    failure = assemble(*events, Finish("content_filter"))[1]
    assert isinstance(failure, ModelContentFilteredError)


@pytest.mark.parametrize("said", [TextDelta("x"), ReasoningDelta("x"), F])
def test_filtered_after_something(said: Event):
    """What was said before the filter stepped in is a completion that says so."""
    assert assemble(said, Finish("content_filter")) == ([said, Finish("content_filter")], None)
    assembler = Assembler()
    assembler.feed([said])
    assert assembler.feed([Finish("content_filter")]) == [Finish("content_filter")]


@pytest.mark.parametrize(
    ("events", "content"),
    [([], False), ([UsageEvent(Usage()), Finish("stop")], False), ([TextDelta("x")], True),
     ([ReasoningDelta("x")], True),
     ([Finish("x"), fragment(0, "")], True), ([F], True)],
)  # fmt: skip
def test_holds_content(events: list[Event], content: bool):
    """Text, reasoning and tool calls are content, whole or not."""
    assert holds_content(events) is content


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [("", True), ("{}", True), ('"\\ud83d"', True), ("{", False), ("{}{", False), ("[" * 100_000, False),
     ('"\ud83d"', True)],
)  # fmt: skip
def test_parses(arguments: str, whole: bool):
    """Arguments are whole if they are JSON or nothing, also where the strict parser is too strict."""
    assert parses(arguments) is whole


FRAGMENTS = st.builds(
    fragment, st.integers(0, 2), st.sampled_from(["", "{", "}", "{}", " ", "1"]), st.sampled_from(["", "f"])
)
EVENTS = st.lists(FRAGMENTS | st.just(TextDelta("x")), max_size=10)


@given(EVENTS, st.sampled_from(["stop", "length", "content_filter"]), st.booleans())
def test_any_fragments(events: list[Event], reason: str, tool_deltas: bool):
    """Batched or single, an answer ends in Finish or in a failure, and only sound calls are handed over."""
    out, failure = (
        assemble(*events, Finish(reason), tool_deltas=tool_deltas) if failing_last(events) else ([], None)
    )
    assert all(parses(event.arguments) for event in out if isinstance(event, ToolCall))
    assert out == [] or (failure is None) == (out[-1] == Finish(reason))


def failing_last(events: list[Event]) -> bool:
    """Only Finish may fail here, because a caller stops feeding at a failure."""
    assembler = Assembler()
    assembler.feed(events)
    return assembler.failure is None


def test_a_call_that_comes_whole_is_a_single_fragment() -> None:
    """Who asked for fragments gets one for each call, whichever way the backend brings them."""
    call = ToolCall(0, "c", "f", "{}")
    assert Assembler(tool_deltas=True).feed([call]) == [ToolCallDelta(0, "c", "f", "{}"), call]
    assert Assembler().feed([call]) == [call]


def test_a_call_that_never_ends_costs_no_more_the_more_calls_follow(monkeypatch) -> None:
    """It is looked at a few times, then at the end only, where all that is whole is handed over in order."""
    looked = []
    monkeypatch.setattr(
        "resilient_llm.wire.assembly.parses", lambda text: looked.append(text) or parses(text)
    )
    assembler = Assembler()
    assembler.feed([fragment(0, '{"a":', "f")])
    for index in range(1, 500):
        assert assembler.feed([fragment(index, "[]", "g")]) == []
    assert len(looked) == MAX_LOOKS
    handed = assembler.feed([fragment(0, "1}"), Finish("tool_calls")])
    assert [event.index for event in handed[:-1]] == list(range(500))


def test_an_answer_of_very_many_calls_is_none() -> None:
    """Each takes more memory than it took bytes."""
    assembler = Assembler()
    for index in range(MAX_CALLS):
        assembler.feed([fragment(index, "{", "f")])
    assert assembler.failure is None
    assembler.feed([fragment(MAX_CALLS, "{", "f")])
    assert "more than 10000 tool calls" in str(assembler.failure)
