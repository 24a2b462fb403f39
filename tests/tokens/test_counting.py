"""Counting for a model."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.tokens import ChatCounter, MalformedMessageError, preload
from resilient_llm.tokens import counting as module
from resilient_llm.tokens.estimating import utf8_length
from resilient_llm.tokens.vocabulary import VOCABULARIES, Vocabulary

JARGON = [
    {
        "role": "system",
        "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain "
        "English.",
    },
    {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Things working well together will increase revenue.",
    },
    {
        "role": "system",
        "name": "example_user",
        "content": "Let's circle back when we have more bandwidth to touch base on opportunities for "
        "increased leverage.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Let's talk later when we're less busy about how to do better.",
    },
    {
        "role": "user",
        "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    },
]
WEATHER = [
    {
        "role": "system",
        "content": "You are a helpful assistant that can answer to questions about the weather.",
    },
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_current_weather",
            "description": "Get the current weather in a given location",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {
                        "type": "string",
                        "description": "The city and state, e.g. San Francisco, CA",
                    },
                    "unit": {
                        "type": "string",
                        "description": "The unit of temperature to return",
                        "enum": ["celsius", "fahrenheit"],
                    },
                },
                "required": ["location"],
            },
        },
    }
]

UNKNOWN = ChatCounter("some-local-model")
O200K = ChatCounter("gpt-4o")


@pytest.mark.parametrize(("model", "tokens"), [("gpt-4", 129), ("gpt-3.5-turbo", 129), ("gpt-4o", 124)])
def test_the_published_conversation_has_the_published_count(model, tokens):
    """OpenAI's cookbook gives the counts that its API reported for this conversation."""
    assert ChatCounter(model).conversation(JARGON) == tokens


@pytest.mark.parametrize(("model", "tokens"), [("gpt-4", 105), ("gpt-3.5-turbo", 105), ("gpt-4o-mini", 101)])
def test_the_published_tool_has_the_published_count(model, tokens):
    """And for this conversation with a tool."""
    assert ChatCounter(model).conversation(WEATHER, tools=TOOLS) == tokens


def test_costs_add_up():
    """A conversation is the primer, its messages, and its definitions."""
    counter = ChatCounter("gpt-4o")
    parts = counter.primer + sum(map(counter.message, WEATHER)) + counter.definitions(tools=TOOLS)
    assert counter.conversation(WEATHER, tools=TOOLS) == parts


def test_a_malformed_message_is_reported_with_its_index():
    """Counting and the byte bound name the same place."""
    messages = [*WEATHER, {"role": "user", "content": 7}]
    with pytest.raises(MalformedMessageError, match=r'messages\[2\]\["content"\]'):
        ChatCounter("gpt-4o").conversation(messages)
    with pytest.raises(MalformedMessageError, match=r'messages\[2\]\["content"\]'):
        ChatCounter("gpt-4o").fits_by_bytes(messages, 10_000)


def test_bytes_prove_a_fit_or_nothing():
    """At the bound the proof holds, one below it does not."""
    counter = ChatCounter("gpt-4o")
    bound = counter.primer + sum(map(counter.bound, WEATHER))
    assert counter.fits_by_bytes(WEATHER, bound)
    assert not counter.fits_by_bytes(WEATHER, bound - 1)
    assert not counter.fits_by_bytes([], counter.primer - 1)


@pytest.mark.parametrize("counter", [O200K, UNKNOWN], ids=repr)
@given(text=st.text(st.characters(codec=None), max_size=80) | st.text("0123456789²½٣a ", max_size=40))
@settings(max_examples=200, deadline=None)
def test_bytes_bound_every_count(counter, text):
    """No count is larger than the bytes, for known and for unknown models."""
    message = {"role": "user", "content": text}
    assert counter.text(text) <= utf8_length(text)
    assert counter.message(message) <= counter.bound(message)


@given(text=st.text(max_size=80))
@settings(max_examples=100, deadline=None)
def test_an_estimate_is_not_below_either_vocabulary(text):
    """For an unknown model the larger of the two counts is the least that is given."""
    assert UNKNOWN.text(text) >= max(vocabulary.count(text) for vocabulary in VOCABULARIES.values())


def test_an_estimate_counts_digits_one_by_one():
    """Many other models read them so."""
    assert UNKNOWN.text("1234567890") == 10
    assert O200K.text("1234567890") == 4


@pytest.mark.parametrize(
    ("model", "encoding", "exact"),
    [
        ("gpt-4o", None, True),
        ("my-deployment", "o200k_base", True),
        ("my-deployment", None, False),
        ("", None, False),
    ],
)
def test_only_a_known_vocabulary_is_exact(model, encoding, exact):
    """By the model's name, or as told."""
    assert ChatCounter(model, encoding=encoding).exact is exact


def test_an_unknown_encoding_is_refused():
    """The error says which there are."""
    with pytest.raises(ValueError, match="one of cl100k_base, o200k_base or None, not 'p50k_base'"):
        ChatCounter("davinci", encoding="p50k_base")


def test_a_vocabulary_that_failed_is_not_exact(monkeypatch):
    """Once it could not be loaded, counts are known to be estimates."""
    broken = Vocabulary("o200k_base")
    monkeypatch.setitem(module.VOCABULARIES, "o200k_base", broken)
    counter = ChatCounter("gpt-4o")
    assert counter.exact
    broken.failed = True
    assert not counter.exact
    assert counter.text("hello world") == len("hello world")


@pytest.mark.parametrize(
    ("names", "loaded"),
    [
        ((), {"cl100k_base", "o200k_base"}),
        (("o200k_base",), {"o200k_base"}),
        (("gpt-4",), {"cl100k_base"}),
        (("gpt-4o", "gpt-5"), {"o200k_base"}),
        (("qwen3-8b",), {"cl100k_base", "o200k_base"}),
    ],
)
def test_preloading_builds_what_the_names_need(monkeypatch, names, loaded):
    """Encodings, models, or nothing for all of them; an unknown model needs both."""
    seen = set()
    monkeypatch.setattr(Vocabulary, "load", lambda self: seen.add(self.name))
    preload(*names)
    assert seen == loaded


def test_a_counter_loads_what_it_counts_with(monkeypatch):
    """One vocabulary for a known model, both for an unknown one."""
    loaded = []
    monkeypatch.setattr(Vocabulary, "load", lambda self: loaded.append(self.name))
    O200K.load()
    assert loaded == ["o200k_base"]
    UNKNOWN.load()
    assert sorted(loaded[1:]) == ["cl100k_base", "o200k_base"]
