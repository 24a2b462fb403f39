"""Sizes that need no vocabulary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.tokens.estimating import digit_surplus, utf8_length


@given(st.text())
def test_the_length_is_that_of_utf_8(text):
    """The bytes are those of the encoded text."""
    assert utf8_length(text) == len(text.encode("utf-8", "surrogatepass"))


def test_a_lone_surrogate_is_three_bytes():
    """As long as the replacement character that it becomes."""
    assert utf8_length("\ud83d") == len("\ufffd".encode())


@pytest.mark.parametrize(
    ("text", "surplus"),
    [("", 0), ("7", 0), ("12", 1), ("123", 2), ("1234", 2), ("12 and 345", 3), ("1.5", 0)],
)
def test_digits_one_by_one(text, surplus):
    """A run of n digits takes n tokens instead of a third of that, rounded up."""
    assert digit_surplus(text) == surplus
