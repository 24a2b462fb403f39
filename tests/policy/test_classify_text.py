"""A reading's sentences, for rules and for people."""

from __future__ import annotations

from resilient_llm.policy.classify_body import Reading
from resilient_llm.policy.classify_text import said, shorten, told_once, words_of


def test_rules_see_plain_quotes_and_single_spaces() -> None:
    """Typographic quotes and spaces are those of a keyboard; addresses and case are gone."""
    reading = Reading("text", ("\u2018It\u2019  \u201cbroke\u201d\xa0at https://x.test/a", "Twice\\nso"))
    assert words_of(reading) == "'it' \"broke\" at . twice so"


def test_rules_see_the_beginning_of_long_sentences() -> None:
    """2,000 characters of each sentence, 8,000 of all."""
    assert words_of(Reading("text", ("a" * 2_001,))) == "a" * 2_000
    assert len(words_of(Reading("text", ("a" * 2_000,) * 5))) == 8_000


def test_300_characters_are_short_enough() -> None:
    """A longer line is cut, and says so."""
    assert shorten("x" * 300) == "x" * 300
    assert shorten("x" * 301) == "x" * 299 + "…"


def test_a_sentence_says_more_than_a_word() -> None:
    """The innermost sentence is said; a word only when there is nothing else."""
    assert said(Reading("json", ("inner", "a sentence", "another one"))) == "a sentence"
    assert said(Reading("json", ("inner", "outer"))) == "inner"
    assert said(Reading("json")) == ""


def test_what_a_chain_repeats_is_said_once() -> None:
    """Also when something new follows; the longer of two sentences stays."""
    assert told_once(["It broke.", "it broke", "no disk", "[Errno 28] no disk left"]) == (
        "It broke: [Errno 28] no disk left"
    )
