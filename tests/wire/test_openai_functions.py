"""Functions of the old kind, said as tools and back."""

from __future__ import annotations

import attrs
import pytest

from resilient_llm.events import Finish, TextDelta, ToolCall
from resilient_llm.models import Request
from resilient_llm.wire.openai import ChatAnswer, as_function, as_tools, is_legacy

F = {"name": "f", "parameters": {}}
G = {"name": "g", "parameters": {}}
ASKED = {"role": "user", "content": "Hi"}


def called(name):
    return {"role": "assistant", "content": None, "function_call": {"name": name, "arguments": "{}"}}


def result(name, content):
    return {"role": "function", "name": name, "content": content}


@pytest.mark.parametrize(
    ("params", "legacy"),
    [
        ({}, False),
        ({"functions": []}, False),
        ({"functions": [F]}, True),
        ({"functions": [F], "tools": []}, True),
        ({"functions": [F], "tools": [{"type": "function", "function": F}]}, False),
    ],
)
def test_who_expects_a_function_call(params, legacy):
    """Who asks with functions and without tools."""
    assert is_legacy(Request(params=params)) is legacy


@pytest.mark.parametrize(
    "params", [{}, {"tools": [{"type": "function", "function": F}]}, {"tools": [1], "functions": [F]}]
)
def test_what_is_not_old_is_the_same_request(params):
    """No copy is made of a call that knows tools, or needs none."""
    request = Request(messages=[ASKED], params=params)
    assert as_tools(request) is request


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({}, {}),
        ({"function_call": "none"}, {"tool_choice": "none"}),
        (
            {"function_call": {"name": "g"}},
            {"tool_choice": {"type": "function", "function": {"name": "g"}}},
        ),
    ],
)
def test_functions_are_tools(choice, said):
    """So is the choice among them; other options stay as they are."""
    request = as_tools(Request(messages=[ASKED], params={"functions": [F, G], "seed": 1, **choice}))
    tools = [{"type": "function", "function": F}, {"type": "function", "function": G}]
    assert request.params == {"tools": tools, "seed": 1, **said}


def test_each_result_is_of_the_last_call_of_its_name():
    """Ids differ within a conversation, and are the same each time it is sent."""
    messages = [
        ASKED,
        called("f"),
        result("f", "1"),
        called("g"),
        result("g", "2"),
        called("f"),
        result("f", "3"),
    ]
    kept = [dict(message) for message in messages]
    first, again = (as_tools(Request(messages=messages)).messages for _ in range(2))
    assert first == again
    assert messages == kept
    ids = [message["tool_calls"][0]["id"] for message in first if "tool_calls" in message]
    assert len(set(ids)) == 3
    assert [(m["tool_call_id"], m["content"]) for m in first if m["role"] == "tool"] == [
        (ids[0], "1"),
        (ids[1], "2"),
        (ids[2], "3"),
    ]
    assert not any("function_call" in message or "name" in message for message in first)


def test_an_answer_with_tools_is_one_with_a_function():
    """Calls lose their ids, and the reason is the old one; the rest stays."""
    events = [TextDelta("a"), ToolCall(0, "c1", "f", "{}"), Finish("tool_calls")]
    answer = ChatAnswer(events, "m", "id", b"")
    told = as_function(answer)
    assert told == attrs.evolve(
        answer, events=[TextDelta("a"), ToolCall(0, "", "f", "{}"), Finish("function_call")]
    )
    assert as_function(ChatAnswer([Finish("length")], "m", "id", b"")).events == [Finish("length")]
