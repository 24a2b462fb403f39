"""JSON where it is not expected."""

from __future__ import annotations

from typing import Any

import pytest

from resilient_llm.policy.classify_json import decode, find, scrape


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('"a"', "a"),
        ("{'a': None}", {"a": None}),
        ("['a']", ["a"]),
        ("'a'", None),
        ("(1, 2)", None),
        ("{'a'", None),
        ("['a'" + " " * (16_384 - 5) + "]", ["a"]),
        ("['a'" + " " * (16_384 - 4) + "]", None),
    ],
)
def test_a_whole_text_is_json_or_a_printed_object(text: str, value: Any) -> None:
    """What Python prints is read when it is an object or a list, of at most 16,384 characters."""
    assert decode(text) == value


LONG = "a" * 16_384


@pytest.mark.parametrize(
    ("text", "around", "value"),
    [
        ('failed: {"a": 1}, sorry', "failed:   , sorry", {"a": 1}),
        ("failed: {'a': [1]}.", "failed:   .", {"a": [1]}),
        ("failed: [{'a': 1}] and }", "failed:   and }", [{"a": 1}]),
        ("failed: {'a': 1} and ]", "failed:   and ]", {"a": 1}),
        ('failed: {\\"a\\": 1}.', "failed:   .", {"a": 1}),
        (f'failed: {{\\"a\\": \\"{LONG}\\"}}.', "failed:   .", {"a": LONG}),
        ('failed: {"a": "so \\"called\\""}', "failed:  ", {"a": 'so "called"'}),
        ("one of {'a', 'b'}", "one of {'a', 'b'}", None),
        ("failed: {'a': 1", "failed: {'a': 1", None),
        ("{'" * 3 + '{"a": 1}', "{'{'{'  ", {"a": 1}),
        ("{'" * 4 + '{"a": 1}', "{'" * 4 + '{"a": 1}', None),
    ],
)
def test_an_object_inside_a_text_is_found(text: str, around: str, value: Any) -> None:
    """As JSON, printed by Python, or escaped once more; three beginnings that lead nowhere are forgiven."""
    told, found = find(text)
    assert (" ".join(told.split()), found) == (" ".join(around.split()), value)


@pytest.mark.parametrize(("spaces", "found"), [(16_384 - 9, {"code": "x"}), (16_384 - 8, {})])
def test_broken_json_is_scraped_up_to_a_bound(spaces: int, found: dict[str, Any]) -> None:
    """Of 16,384 characters; a text that begins behind them is not seen."""
    assert scrape(" " * spaces + '"code":"x') == found
