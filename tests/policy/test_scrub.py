"""Secrets out of texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.policy.scrub import scrub

KEY = "abcdEFGH12345678abcdEFGH"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"Incorrect API key provided: sk-{KEY}.", "Incorrect API key provided: ***"),
        (f"gsk_{KEY}, hf_{KEY} and xai-{KEY}", "***, *** and ***"),
        (f"AIza{KEY} or AKIA1234ABCD5678EFGH", "*** or ***"),
        (f"Authorization: Bearer {KEY}", "Authorization: Bearer ***"),
        (f"basic {KEY}==", "basic ***"),
        (f"GET https://host/v1?key={KEY}&alt=sse", "GET https://host/v1?key=***&alt=sse"),
        (f'{{"api_key": "{KEY}", "x": 1}}', '{"api_key": "***", "x": 1}'),
        (f"x-api-key: {KEY}", "x-api-key: ***"),
        ("http://me:secret@host/", "http://***@host/"),
        ("eyJhbGciOiJ.eyJzdWIiOiIx.c2lnbmF0", "***"),
        ("the tokens per minute: 4096", "the tokens per minute: 4096"),
        ("nothing to hide", "nothing to hide"),
        ("", ""),
    ],
)
def test_secrets_are_hidden(text: str, clean: str) -> None:
    """Keys, tokens and passwords become stars, and the rest stays."""
    assert scrub(text) == clean


@given(st.text(alphabet="abcABC019_*", min_size=16, max_size=40).filter(lambda key: key.isalnum()))
def test_no_key_survives(key: str) -> None:
    """Whatever follows a vendor's prefix is gone."""
    assert key not in scrub(f"the key sk-{key} failed")


@given(st.text())
def test_any_text_can_be_scrubbed(text: str) -> None:
    """Scrubbing is total and settles at once."""
    assert scrub(scrub(text)) == scrub(text)
