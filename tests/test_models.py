"""The values: what a completion gives back to the conversation."""

from __future__ import annotations

import attrs
import pytest

from resilient_llm.events import ToolCall
from resilient_llm.models import Completion, FunctionCall, Request, Usage

ASK = [{"role": "user", "content": "2+2?"}]


def test_a_text_answer_becomes_an_assistant_message() -> None:
    """`message` can be appended, `messages` is the whole history, and the input is left alone."""
    done = Completion(text="4", sent=ASK)
    assert done.message == {"role": "assistant", "content": "4"}
    assert done.messages == [*ASK, done.message]
    assert len(ASK) == 1


def test_an_empty_answer_is_an_empty_text() -> None:
    """No backend refuses an empty string; some refuse null without a call."""
    assert Completion().message == {"role": "assistant", "content": ""}


def test_tool_calls_become_what_the_next_request_needs() -> None:
    """Ids, names and argument texts come back in OpenAI's shape; no text is null."""
    done = Completion(tool_calls=(ToolCall(0, "call_1", "add", '{"a":2}'),))
    assert done.message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":2}'}}
        ],
    }


def test_a_legacy_function_call_comes_back_as_one() -> None:
    """`functions` users get `function_call`, with the text if there was any."""
    done = Completion(text="let me see", function_call=FunctionCall("add", "{}"))
    assert done.message == {
        "role": "assistant",
        "content": "let me see",
        "function_call": {"name": "add", "arguments": "{}"},
    }


@pytest.mark.parametrize("value", [Completion(), Usage(), Request()])
def test_values_cannot_be_changed(value) -> None:
    """Whoever holds a value can rely on it."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.model = "other"


def test_reprs_do_not_show_the_conversation() -> None:
    """A completion in a log does not quote what was sent."""
    assert "2+2" not in repr(Completion(text="4", sent=ASK, body=b"2+2"))
