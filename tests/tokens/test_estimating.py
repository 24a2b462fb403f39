"""Sizes that need no vocabulary."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.tokens import ChatCounter
from resilient_llm.tokens.estimating import digit_surplus, surely_exceeds, utf8_length


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


def said(text) -> list[dict]:
    return [{"role": "user", "content": "Hello."}, {"role": "user", "content": text}]


TEXTS = ["international organization responsibility " * 50, "the quick brown fox " * 100]
PROSE = "the quick brown fox jumps over the lazy dog and then it sleeps " * 100


@pytest.mark.parametrize("model", ["gpt-4", "gpt-4o"])
@given(
    text=st.text("abcdef -_.,1漢字かなカ한", max_size=300) | st.sampled_from(TEXTS), extra=st.integers(0, 50)
)
@settings(max_examples=80, deadline=None)
def test_what_surely_exceeds_a_count_does(model, text, extra):
    """Never true of the tokens that a text really has, in either vocabulary."""
    counter = ChatCounter(model)
    messages = said(text)
    tokens = sum(counter.text(message["content"]) for message in messages)
    assert not surely_exceeds(messages, tokens + extra)


@pytest.mark.parametrize("share", [0.5, 0.65])
def test_a_prompt_of_which_a_part_is_missing_is_found_out(share):
    """English prose with a third of its tokens gone surely has more words than what is left has tokens."""
    messages = said(PROSE)
    assert surely_exceeds(messages, ChatCounter("gpt-4o").text(PROSE) * share)


def test_other_scripts_are_found_out_when_more_is_missing():
    """Four characters of Chinese are a token at least."""
    messages = said("那隻敏捷的棕色狐狸跳過了那隻懶惰的狗然後牠睡著了" * 50)
    assert surely_exceeds(messages, ChatCounter("gpt-4o").text(messages[1]["content"]) * 0.2)


@pytest.mark.parametrize("content", [None, [{"type": "text", "text": PROSE}], " " * 10_000, "{}" * 5_000])
def test_what_has_no_words_proves_nothing(content):
    """Parts, white space, punctuation."""
    assert not surely_exceeds(said(content), 600)
