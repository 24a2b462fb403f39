"""What messages cost."""

from __future__ import annotations

import pickle
from collections import UserDict
from types import MappingProxyType

import pytest

from resilient_llm.tokens import MalformedMessageError
from resilient_llm.tokens.costs import UNKNOWN, MessageCosts, json_text
from resilient_llm.tokens.image_rules import Constant
from resilient_llm.tokens.media import Media

COSTS = MessageCosts(len, media=Media(Constant(1000)))
"""Counts a token for each character, so that a test shows what is counted."""

BASE = 3 + len("user")

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}


def test_a_message_costs_its_overhead_its_role_and_its_content():
    """Three, the role, the content."""
    assert COSTS.message({"role": "user", "content": "hello"}) == BASE + 5


def test_a_name_costs_one_more():
    """As published: the name's tokens and one."""
    assert COSTS.message({"role": "user", "content": "", "name": "ada"}) == BASE + 3 + 1


@pytest.mark.parametrize("content", [None, "", []])
def test_empty_content_costs_nothing(content):
    """None, an empty string and an empty list are what a calling assistant sends."""
    assert COSTS.message({"role": "user", "content": content}) == BASE


def test_content_may_be_missing():
    """An assistant's message that only calls tools need not have any."""
    assert COSTS.message({"role": "user"}) == BASE


@pytest.mark.parametrize(
    ("part", "cost"),
    [
        ({"type": "text", "text": "hello"}, 5),
        ({"type": "input_text", "text": "hello"}, 5),
        ({"type": "refusal", "refusal": "no"}, 2),
        ({"type": "thinking", "thinking": "hm", "signature": "A" * 500}, 2),
        ("hello", 5),
        (IMAGE, 1000),
        ({"type": "image", "source": {"type": "base64", "data": "A" * 10_000}}, 1000),
        ({"type": "something_new", "data": "A" * 10_000}, 1000),
        ({"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}}, 3 + 3 + len('{"a": 1}')),
        ({"type": "tool_result", "tool_use_id": "t1", "content": "42"}, 3 + 2),
        (
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "42"}, IMAGE]},
            1005,
        ),
        ({"type": "tool_result", "tool_use_id": "t1"}, 3),
        ({"type": "web_search_tool_result", "content": {"error_code": "x"}}, 3 + len('{"error_code": "x"}')),
        ({"type": "document", "source": {"type": "text", "data": "hello"}, "title": "abc"}, 8),
        ({"type": "document", "source": {"type": "content", "content": ["hello", IMAGE]}}, 1005),
        ({"type": "search_result", "title": "a", "content": [{"type": "text", "text": "hello"}]}, 6),
    ],
)
def test_a_part_costs_its_text_or_a_constant(part, cost):
    """Text counts as text, calls and results with their overhead, data never as text."""
    assert COSTS.message({"role": "user", "content": [part]}) == BASE + cost
    assert COSTS.message({"role": "user", "content": (part, part)}) == BASE + 2 * cost


@pytest.mark.parametrize(
    "call",
    [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}},
        {"id": "call_1", "type": "custom", "custom": {"name": "add", "input": '{"a": 1}'}},
    ],
)
def test_a_tool_call_costs_its_name_and_arguments(call):
    """And three; arguments count as JSON text in whichever form they come."""
    message = {"role": "user", "content": None, "tool_calls": [call, call]}
    assert COSTS.message(message) == BASE + 2 * (3 + 3 + 8)


def test_a_legacy_function_call_costs_the_same():
    """`function_call` is a call without an id."""
    call = {"name": "add", "arguments": '{"a": 1}'}
    assert COSTS.message({"role": "user", "function_call": call}) == BASE + 3 + 3 + 8


def test_a_tool_result_costs_its_fields():
    """Every string field counts, the id of the call too."""
    assert COSTS.message({"role": "user", "tool_call_id": "call_1", "content": "42"}) == BASE + 6 + 2


def test_images_beside_the_content_cost_the_constant():
    """Ollama's own shape; the data itself is not read."""
    assert COSTS.message({"role": "user", "content": "look", "images": ["A" * 9999, "B"]}) == BASE + 4 + 2000


def test_unknown_fields_count_if_they_are_text():
    """Text may reach the model; other unknown values are left out."""
    assert (
        COSTS.message({"role": "user", "note": "abc", "annotations": [1], "audio": {"id": "a"}}) == BASE + 3
    )


def test_other_templates_cost_more():
    """Unknown models are given the larger overheads of the templates that were looked at."""
    costs = MessageCosts(len, UNKNOWN)
    assert costs.message({"role": "user", "content": "hello"}) == 5 + 4 + 5


@pytest.mark.parametrize("kind", [UserDict, MappingProxyType])
def test_any_mapping_is_a_message(kind):
    """Messages need not be dicts, nor need what is in them."""
    inner = kind({"name": "add", "arguments": kind({"a": 1})})
    message = kind(
        {"role": "user", "content": [kind({"text": "x"})], "tool_calls": [kind({"function": inner})]}
    )
    assert COSTS.message(message) == BASE + 1 + 14


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("hello", "message must be a mapping with a role, not str"),
        ({"content": "hello"}, r'message\["role"\] must be a string, not NoneType'),
        ({"role": 7}, r'message\["role"\] must be a string, not int'),
        ({"role": "user", "content": 7}, r'\["content"\] must be a string, a list of parts or None, not int'),
        ({"role": "user", "content": {"text": "x"}}, r'\["content"\] must be a string, .* not dict'),
        ({"role": "user", "content": ["x", 7]}, r'\["content"\]\[1\] must be a mapping or a string, not int'),
        (
            {"role": "user", "content": [{"type": "tool_result", "content": 7}]},
            r'\["content"\]\[0\]\["content"\] must be',
        ),
        ({"role": "assistant", "tool_calls": {"name": "f"}}, r'\["tool_calls"\] must be a list, not dict'),
        (
            {"role": "assistant", "tool_calls": [None]},
            r'\["tool_calls"\]\[0\] must be a mapping, not NoneType',
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": "f"}]},
            r'\["tool_calls"\]\[0\]\["function"\] must be a mapping, not str',
        ),
        ({"role": "user", "images": {"a": 1}}, r'\["images"\] must be a list, not dict'),
        ({"role": "assistant", "function_call": ["f"]}, r'\["function_call"\] must be a mapping, not list'),
    ],
)
@pytest.mark.parametrize("error", [TypeError, ValueError, MalformedMessageError])
def test_a_malformed_message_is_reported_with_the_place(message, problem, error):
    """The error names the field and what it may be, and is both a TypeError and a ValueError."""
    with pytest.raises(error, match=problem):
        COSTS.message(message)


def test_a_malformed_message_names_its_place_in_the_conversation():
    """`at` gives the index; the error can be pickled."""
    error = pickle.loads(pickle.dumps(MalformedMessageError('["role"] must be a string, not int').at(3)))
    assert str(error) == 'messages[3]["role"] must be a string, not int'


def test_json_text_is_what_templates_write():
    """Other scripts stay readable, and what JSON cannot say becomes its text."""
    assert (
        json_text({"ä": [1, None], "b": UserDict(c=1), "d": {1}})
        == '{"ä": [1, null], "b": {"c": 1}, "d": "{1}"}'
    )
