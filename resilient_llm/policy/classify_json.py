"""JSON where it is not expected: inside a sentence, inside a string, printed by Python, or cut off."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from typing import Any, Final

_OPENERS: Final = 4
"""How many places of a text are tried as the beginning of JSON."""

_MISSING: Final = object()
_decode = json.JSONDecoder().raw_decode


def decode(text: str) -> Any:
    """Decode a whole text as JSON, or as what Python's `repr` makes of it; None for anything else."""
    value = _json(text)
    if value is _MISSING:
        value = _python(text)
    return None if value is _MISSING else value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _MISSING


def _python(text: str) -> Any:
    if text[:1] not in {"{", "["} or len(text) > 16_384:
        return _MISSING
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return _MISSING


def find(text: str) -> tuple[str, Any]:
    """Find an object or a list inside a text.

    Returns:
        What stands around it, and the decoded value, or None if there is none.
    """
    for match in list(_opener().finditer(text))[:_OPENERS]:
        start = match.start()
        rest = text[start:]
        try:
            value, end = _decode(rest)
        except (ValueError, RecursionError):
            end = rest.rfind("]" if rest[0] == "[" else "}") + 1
            value = _python(rest[:end]) if end else _MISSING
        if value is _MISSING and '\\"' in rest:  # escaped once more, as in a quoted print
            value = _json(rest[:end].replace('\\"', '"').replace("\\\\", "\\"))
        if isinstance(value, dict | list):
            return f"{text[:start]} {rest[end:]}", value
    return text, None


@cache
def _opener() -> re.Pattern[str]:
    return re.compile(r"\{\s{0,20}\\?[\"']|\[\s{0,20}(?=\{)")


@cache
def _pair() -> re.Pattern[str]:
    return re.compile(
        r"\\{0,3}[\"'](?P<key>message|msg|detail|error|code|type|status|reason|error_type)\\{0,3}[\"']\s{0,4}:\s{0,4}"
        r"(?:\\{0,3}(?P<quote>[\"'])(?P<text>(?:[^\"'\\\n]|\\[^\"']|(?!(?P=quote))[\"']){1,2000})|(?P<number>\d{3,6}))"
    )


def scrape(text: str) -> dict[str, Any]:
    """Collect the telling keys of broken or truncated JSON; the first of each name wins."""
    found: dict[str, Any] = {}
    for match in _pair().finditer(text[:16_384]):
        value = int(match["number"]) if match["number"] else match["text"]
        found.setdefault(match["key"], value)
    return found
