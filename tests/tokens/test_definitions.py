"""What offered functions and response schemas cost."""

from __future__ import annotations

import pytest

from resilient_llm.tokens.costs import UNKNOWN, MessageCosts, json_text
from resilient_llm.tokens.definitions import definitions

COSTS = MessageCosts(len)
"""Counts a token for each character."""

END = 12
FUNCTION = 7


def function(**parameters):
    return {"name": "add", "description": "Add.", "parameters": {"type": "object", **parameters}}


def test_nothing_offered_costs_nothing():
    """None and empty lists add no overhead."""
    assert definitions(COSTS) == definitions(COSTS, tools=[], functions=()) == 0


def test_a_function_costs_its_line():
    """The name, a colon, and the description without its full stop."""
    assert (
        definitions(COSTS, tools=[{"type": "function", "function": function()}])
        == FUNCTION + len("add:Add") + END
    )


def test_legacy_functions_and_anthropics_tools_follow_the_same_rule():
    """The shape around a function does not matter."""
    schema = {"type": "object", "properties": {"a": {"type": "integer", "description": "One."}}}
    shapes = (
        {
            "tools": [
                {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}
            ]
        },
        {"functions": [{"name": "f", "description": "d", "parameters": schema}]},
        {"tools": [{"name": "f", "description": "d", "input_schema": schema}]},
    )
    cost = FUNCTION + len("f:d") + 3 + 3 + len("a:integer:One") + END
    assert [definitions(COSTS, **shape) for shape in shapes] == [cost] * 3


def test_an_enum_costs_its_items():
    """Three less for the enum, three and its text for each item; items need not be strings."""
    plain = definitions(COSTS, functions=[function(properties={"u": {"type": "string"}})])
    enum = definitions(COSTS, functions=[function(properties={"u": {"type": "string", "enum": ["ab", 1]}})])
    assert enum - plain == -3 + (3 + 2) + (3 + 1)


def test_what_the_rule_does_not_cover_counts_as_json():
    """Nested objects, items and other keywords are not free."""
    flat = definitions(COSTS, functions=[function(properties={"a": {"type": "array"}})])
    nested = {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}}
    deep = definitions(COSTS, functions=[function(properties={"a": nested})])
    assert deep - flat == len(json_text({"items": nested["items"]}))


def test_a_nested_object_counts_as_json():
    """A property that has properties costs its schema's text beside its line."""
    schema = {"type": "object", "properties": {"b": {"type": "string"}}}
    cost = definitions(COSTS, functions=[function(properties={"a": schema})])
    assert cost == FUNCTION + 7 + 3 + 3 + len("a:object:") + len(json_text(schema)) + END


def test_shared_definitions_count_as_json():
    """`$defs` beside the properties are read by the model too."""
    shared = {"$defs": {"p": {"type": "object"}}}
    cost = definitions(COSTS, functions=[function(**shared)])
    assert cost - definitions(COSTS, functions=[function()]) == len(json_text(shared))


def test_a_property_may_have_several_types():
    """A list of types counts as JSON text."""
    one = definitions(COSTS, functions=[function(properties={"a": {"type": ["string", "null"]}})])
    assert one == FUNCTION + 7 + 3 + 3 + len('a:["string", "null"]:') + END


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "function", "function": "add"},
        {"name": "add", "parameters": "none"},
        {"name": "add", "parameters": {"properties": ["a"]}},
        {"name": "add", "parameters": {"properties": {"a": True}}},
        {"type": "custom", "custom": {"name": "sql", "description": "Runs SQL."}},
    ],
)
def test_other_tools_count_as_json(tool):
    """A tool that is no function in the published form costs its text and the same overhead."""
    assert definitions(COSTS, tools=[tool]) == FUNCTION + len(json_text(tool)) + END


def test_other_models_see_json():
    """Their templates show the model the whole definition as it was sent."""
    costs = MessageCosts(len, UNKNOWN)
    tool = {"type": "function", "function": function(properties={"a": {"type": "string"}})}
    assert definitions(costs, tools=[tool]) == 10 + len(json_text(tool)) + 350


def test_a_response_schema_counts_as_json():
    """The schema with its name, as text."""
    schema = {"name": "city", "schema": {"type": "object"}}
    assert definitions(COSTS, response_format={"type": "json_schema", "json_schema": schema}) == len(
        json_text(schema)
    )


@pytest.mark.parametrize("response_format", [None, {"type": "json_object"}, {"type": "text"}, "auto"])
def test_a_response_format_without_a_schema_costs_nothing(response_format):
    """There is no text in it that the model would see."""
    assert definitions(COSTS, response_format=response_format) == 0


@pytest.mark.parametrize("kind", ["tools", "functions"])
def test_a_malformed_tool_is_reported_with_its_index(kind):
    """The error names the list and the place."""
    with pytest.raises(TypeError, match=rf"{kind}\[1\] must be a mapping, not str"):
        definitions(COSTS, **{kind: [{"name": "f"}, "g"]})


def test_anthropic_s_system_prompt_stands_beside_the_messages():
    """It costs its text and a message's overhead, as a string and as blocks."""
    assert definitions(COSTS, system="Be terse.") == 3 + 9
    assert definitions(COSTS, system=[{"type": "text", "text": "Be terse."}] * 2) == 3 + 18
    assert definitions(COSTS, system=None) == 0


def test_anthropic_s_tools_and_output_schema_count():
    """A tool's schema is called `input_schema`, a response's stands in `output_config`."""
    ours, theirs = function(properties={"a": {"type": "string"}}), {"name": "add", "description": "Add."}
    theirs["input_schema"] = ours["parameters"]
    assert definitions(COSTS, tools=[theirs]) == definitions(COSTS, functions=[ours])
    form = {"type": "json_schema", "schema": {"type": "object"}}
    assert definitions(COSTS, output_config={"format": form, "effort": "low"}) == len(json_text(form))


@pytest.mark.parametrize(("system", "problem"), [(7, "system must be"), ([7], r"system\[0\] must be")])
def test_a_malformed_system_prompt_is_reported(system, problem):
    """The error names it and the place in it."""
    with pytest.raises(TypeError, match=problem):
        definitions(COSTS, system=system)
