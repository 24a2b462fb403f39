"""What offered functions and a response schema cost.

For OpenAI's models by the rule that its cookbook publishes for flat parameters; what the rule does not cover
(nested schemas, other keywords) counts as JSON text. For other models everything counts as JSON text, which
is what their templates show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .costs import json_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .costs import MessageCosts

_PER_PROPERTIES = 3
_PER_PROPERTY = 3
_PER_ENUM = -3
_PER_ENUM_ITEM = 3
# Keywords of a schema that the published rule covers, or that OpenAI's rendering leaves out.
_COVERED = frozenset(
    {"type", "description", "enum", "properties", "required", "additionalProperties", "title", "$schema"}
)


def definitions(
    costs: MessageCosts,
    *,
    tools: Iterable[Any] | None = None,
    functions: Iterable[Any] | None = None,
    response_format: Any = None,
) -> int:
    """What a request's `tools`, legacy `functions` and `response_format` cost together.

    Raises:
        TypeError: A tool is no mapping; the message says which.
    """
    offered = [*_checked("tools", tools), *_checked("functions", functions)]
    total = sum(_tool(costs, tool) for tool in offered)
    if offered:
        total += costs.overheads.tools
    schema = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    return total + costs.json(schema)


def _checked(name: str, tools: Iterable[Any] | None) -> Sequence[Mapping[str, Any]]:
    checked = list(tools or ())
    for index, tool in enumerate(checked):
        if not isinstance(tool, Mapping):
            msg = f"{name}[{index}] must be a mapping, not {type(tool).__name__}"
            raise TypeError(msg)
    return checked


def _tool(costs: MessageCosts, tool: Mapping[str, Any]) -> int:
    function = tool.get("function", tool)
    if costs.overheads.schema_as_json or not _follows_the_rule(function):
        return costs.overheads.function + costs.json(tool)
    total = costs.overheads.function + costs.measure(_line(function["name"], function.get("description")))
    parameters = function.get("parameters", function.get("input_schema")) or {}
    properties = parameters.get("properties") or {}
    if properties:
        total += _PER_PROPERTIES
    total += sum(_property(costs, name, schema) for name, schema in properties.items())
    return total + _remainder(costs, parameters)


def _follows_the_rule(function: object) -> bool:
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return False
    parameters = function.get("parameters", function.get("input_schema"))
    properties = parameters.get("properties") if isinstance(parameters, Mapping) else parameters
    return properties is None or (
        isinstance(properties, Mapping) and all(isinstance(schema, Mapping) for schema in properties.values())
    )


def _property(costs: MessageCosts, name: str, schema: Mapping[str, Any]) -> int:
    kind = schema.get("type", "")
    kind = kind if isinstance(kind, str) else json_text(kind)
    total = _PER_PROPERTY + costs.measure(_line(f"{name}:{kind}", schema.get("description")))
    items = schema.get("enum")
    if isinstance(items, list | tuple):
        total += _PER_ENUM + sum(_PER_ENUM_ITEM + costs.json(item) for item in items)
    if schema.get("properties"):
        return total + costs.json(schema)
    return total + _remainder(costs, schema)


def _remainder(costs: MessageCosts, schema: Mapping[str, Any]) -> int:
    rest = {key: value for key, value in schema.items() if key not in _COVERED}
    return costs.json(rest) if rest else 0


def _line(head: str, description: object) -> str:
    return f"{head}:{str(description or '').removesuffix('.')}"
