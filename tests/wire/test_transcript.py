"""What was handed over, as a completion."""

from __future__ import annotations

from resilient_llm.errors import ModelUnavailableError
from resilient_llm.events import (
    Finish,
    ReasoningDelta,
    Restarted,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    UsageEvent,
)
from resilient_llm.models import Completion, FunctionCall, Usage
from resilient_llm.wire.transcript import Transcript


def test_empty():
    """Nothing handed over is an empty completion without a finish reason."""
    transcript = Transcript()
    assert len(transcript) == 0
    assert transcript.completion() == Completion()


def test_whole_answer():
    """Pieces are joined, whole calls kept, fragments left out; the last usage counts."""
    call = ToolCall(0, "a", "f", "{}")
    transcript = Transcript()
    transcript.extend([ReasoningDelta("h"), ReasoningDelta("m"), TextDelta("Hel")])
    for event in (
        TextDelta("lo"),
        ToolCallDelta(0, "a", "f", "{}"),
        call,
        UsageEvent(Usage(1)),
        UsageEvent(Usage(2)),
    ):
        transcript.record(event)
    transcript.record(Finish("tool_calls"))
    assert transcript.completion(
        model="m", backend="b", request_id="r", attempts=2, body=b"{}"
    ) == Completion(
        text="Hello",
        reasoning="hm",
        tool_calls=(call,),
        finish_reason="tool_calls",
        usage=Usage(2),
        model="m",
        backend="b",
        request_id="r",
        attempts=2,
        body=b"{}",
    )


def test_legacy_call():
    """A call without an id is the legacy function call."""
    transcript = Transcript()
    transcript.extend([ToolCall(0, "", "f", "{}"), Finish("function_call")])
    completion = transcript.completion()
    assert completion.function_call == FunctionCall("f", "{}")
    assert completion.tool_calls == ()


def test_partial_answer():
    """Until Finish there is no finish reason."""
    transcript = Transcript()
    transcript.record(TextDelta("a"))
    assert transcript.completion() == Completion(text="a")


def test_restart():
    """What came before a restart does not count."""
    transcript = Transcript()
    again = Restarted(ModelUnavailableError("gone"), 2)
    transcript.extend([TextDelta("a"), again, TextDelta("b"), again, TextDelta("c")])
    assert transcript.completion().text == "c"
