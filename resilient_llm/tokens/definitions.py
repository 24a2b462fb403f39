"""What a request holds beside its messages: functions, a response schema, Anthropic's system prompt.

For OpenAI's models by the rule that its cookbook publishes for flat parameters; what the rule does not cover
(nested schemas, other keywords) counts as JSON text. For other models everything counts as JSON text, which
is what their templates show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from .costs import MalformedMessageError, json_text

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


class Offered(TypedDict, total=False):
    """The parameters of a request that cost tokens, in the shape in which they are sent.

    `tools`, `functions` (legacy), `response_format`: OpenAI's. `tools`, `system`, `output_config`: Anthropic's.
    """

    tools: Iterable[Any] | None
    functions: Iterable[Any] | None
    response_format: Any
    output_config: Any
    system: Any


def definitions(costs: MessageCosts, **offered: Unpack[Offered]) -> int:
    """What these cost together.

    Raises:
        TypeError: A tool is no mapping, or the system prompt no text; the message says which.
    """
    functions = [
        *_checked("tools", offered.get("tools")),
        *_checked("functions", offered.get("functions")),
    ]
    total = sum(_tool(costs, function) for function in functions)
    if functions:
        total += costs.overheads.tools
    if (system := offered.get("system")) is not None:
        total += costs.overheads.message + _system(costs, system)
    schema = _within(offered.get("response_format"), "json_schema")
    return total + costs.json(schema) + costs.json(_within(offered.get("output_config"), "format"))


def _system(costs: MessageCosts, system: object) -> int:
    try:
        return costs.content(system)
    except MalformedMessageError as error:
        raise MalformedMessageError(error.problem, "system") from None


def _within(holder: object, key: str) -> object:
    return holder.get(key) if isinstance(holder, Mapping) else None


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
