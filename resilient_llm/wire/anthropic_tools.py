"""Tools and the choice among them, from OpenAI's shape to Anthropic's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .anthropic_content import Block, as_list, as_mapping
from .payload import Object, object_of

CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}


def encode_tools(tools: object, functions: object) -> list[Block]:
    """The tools; legacy `functions` are tools. What is in Anthropic's shape (its own tools) stays as it is.

    Raises:
        ValueError: They are no list, or one is no mapping.
    """
    given = [as_mapping(tool, "a tool") for tool in as_list(tools, "tools")]
    legacy = [as_mapping(function, "a function") for function in as_list(functions, "functions")]
    return [*map(_tool, given), *map(_function, legacy)]


def encode_choice(choice: object, *, parallel: object, legacy: bool) -> Block | None:
    """How to choose among the tools; None leaves it to the API. A legacy caller understands a single call."""
    chosen = _choice(choice)
    if (parallel is False or legacy) and (chosen is None or chosen.get("type") != "none"):
        chosen = {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": True}
    return chosen


def forces(choice: Block | None) -> bool:
    """Must the model call a tool?"""
    return choice is not None and choice.get("type") in ("any", "tool")


def _tool(tool: Object) -> Block:
    if tool.get("type") != "function" or not isinstance(tool.get("function"), Mapping):
        return dict(tool)
    rest = {key: value for key, value in tool.items() if key not in {"type", "function"}}
    return {**_function(object_of(tool["function"])), **rest}


def _function(function: Object) -> Block:
    rest = {key: value for key, value in function.items() if key != "parameters" and value is not None}
    return {**rest, "input_schema": _schema(function.get("parameters"))}


def _schema(parameters: object) -> Any:
    if not parameters:
        return {"type": "object", "properties": {}}
    if isinstance(parameters, Mapping) and "type" not in parameters:
        return {"type": "object", **parameters}
    return parameters


def _choice(choice: object) -> Block | None:
    if isinstance(choice, str):
        return {"type": CHOICES.get(choice, choice)}
    if not isinstance(choice, Mapping):
        return None
    function = choice.get("function")
    if isinstance(function, Mapping):
        return {"type": "tool", "name": function.get("name")}
    return dict(choice) if "type" in choice else {"type": "tool", "name": choice.get("name")}
