"""What the suite asks."""

from __future__ import annotations

from typing import Any, Final

QUESTION: Final = [{"role": "user", "content": "Name three rivers in Europe."}]
WEATHER: Final = [{"role": "user", "content": "How cold is it in Ulm and in Århus?"}]
ENDLESS: Final = "Tell me a long story."
SYSTEM: Final = "Be terse and polite. "
RESULT: Final = "4 degrees"
GREEDY: Final[dict[str, Any]] = {"temperature": 0, "seed": 1}

PARAMETERS: Final = {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}
FUNCTION: Final[dict[str, Any]] = {
    "name": "temperature",
    "description": "How warm a town is.",
    "parameters": PARAMETERS,
}
CLOCK: Final[dict[str, Any]] = {
    "name": "clock",
    "description": "The time of a town.",
    "parameters": PARAMETERS,
}
TOOLS: Final[list[dict[str, Any]]] = [
    {"type": "function", "function": FUNCTION},
    {"type": "function", "function": CLOCK},
]

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"river": {"enum": ["Rhine", "Danube"]}, "long": {"type": "boolean"}},
    "required": ["river", "long"],
    "additionalProperties": False,
}
