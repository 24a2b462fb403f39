"""The tracker that applications use."""

from __future__ import annotations

import copy

import pytest

from resilient_llm.errors import LLMError, TokenLimitExceededError
from resilient_llm.tokens import MalformedMessageError, TokenTracker

HISTORY = [
    {"role": "system", "content": "Be terse."},
    {"role": "user", "content": "Name three rivers, and where they end. " * 5},
    {"role": "assistant", "content": "Rhine, North Sea; Danube, Black Sea; Po, Adriatic. " * 5},
    {"role": "user", "content": "And three lakes?"},
]


def test_counts_add_up():
    """A conversation is its messages and three for the answer."""
    tracker = TokenTracker()
    total = sum(map(tracker.count_message_tokens, HISTORY))
    assert tracker.count_conversation_tokens(HISTORY) == total + 3
    assert tracker.count_message_tokens(HISTORY[0]) == 3 + 1 + tracker.count_tokens("Be terse.")


def test_tools_count():
    """Offered tools are part of a request."""
    tools = [{"type": "function", "function": {"name": "f", "description": "Does.", "parameters": {}}}]
    tracker = TokenTracker()
    assert tracker.count_conversation_tokens(HISTORY, tools) > tracker.count_conversation_tokens(HISTORY) + 12


@pytest.mark.parametrize(("model", "exact"), [("gpt-4o", True), ("gpt-4", True), ("qwen3-8b", False)])
def test_it_says_whether_it_is_exact(model, exact):
    """Known models are counted, others estimated."""
    assert TokenTracker(model).exact is exact
    assert TokenTracker(model).model == model
    assert model in repr(TokenTracker(model))


def test_pruning_drops_the_oldest_turn():
    """System message and newest turn stay; the input is left as it was."""
    before = copy.deepcopy(HISTORY)
    kept = TokenTracker().prune_conversation(HISTORY, 60)
    assert kept == [HISTORY[0], HISTORY[3]]
    assert before == HISTORY


def test_pruning_gives_a_new_list_even_if_all_fits():
    """Appending to the result does not change the caller's history."""
    kept = TokenTracker().prune_conversation(HISTORY, 10_000)
    assert kept == HISTORY
    assert kept is not HISTORY


def test_a_newest_turn_that_does_not_fit_raises():
    """The error says by how much, and carries both numbers."""
    tracker = TokenTracker()
    needed = tracker.count_conversation_tokens([HISTORY[0], HISTORY[3]])
    with pytest.raises(TokenLimitExceededError, match=f"need {needed} tokens, 5 more than") as caught:
        tracker.prune_conversation(HISTORY, needed - 5)
    assert (caught.value.context_requested, caught.value.context_limit) == (needed, needed - 5)
    assert caught.value.code == "TOKEN_BUDGET_EXCEEDED"


def test_a_malformed_message_is_reported_with_its_index():
    """Whatever is done with the conversation."""
    messages = [*HISTORY, {"content": "no role"}]
    with pytest.raises(MalformedMessageError, match=r'messages\[4\]\["role"\]'):
        TokenTracker().count_conversation_tokens(messages)
    with pytest.raises(MalformedMessageError, match=r'messages\[4\]\["role"\]'):
        TokenTracker().prune_conversation(messages, 60)


def test_a_text_within_its_limit_passes():
    """By its bytes or by its tokens, up to the limit itself."""
    tracker = TokenTracker()
    text = "The quick brown fox jumps over the lazy dog."
    tracker.ensure_token_limit(text, len(text))
    tracker.ensure_token_limit(text, tracker.count_tokens(text))


def test_a_text_over_its_limit_raises():
    """The error says by how much, and carries both numbers."""
    with pytest.raises(LLMError, match="has 10 tokens, 1 more than the limit of 9") as caught:
        TokenTracker().ensure_token_limit("The quick brown fox jumps over the lazy dog.", 9)
    assert isinstance(caught.value, TokenLimitExceededError)
    assert (caught.value.context_requested, caught.value.context_limit) == (10, 9)


@pytest.mark.parametrize("text", [None, 7, b"bytes", ["a"]])
def test_only_a_string_is_a_text(text):
    """None and the like are refused with the name of their type."""
    with pytest.raises(TypeError, match=f"text must be a string, not {type(text).__name__}"):
        TokenTracker().count_tokens(text)
    with pytest.raises(TypeError, match="text must be a string"):
        TokenTracker().ensure_token_limit(text, 5)


def test_special_tokens_of_a_user_are_text():
    """What looks like a control token counts as its characters, and does not raise."""
    assert TokenTracker().count_tokens("<|endoftext|>") == 7


def test_a_batch_is_counted_in_order_and_equal_texts_once(monkeypatch):
    """The counts are those of the single texts."""
    tracker = TokenTracker("gpt-4o")
    texts = ["hello world", "", "hello world", "漢字", "x" * 300] * 20
    assert tracker.count_batch(iter(texts)) == [tracker.count_tokens(text) for text in texts]
    asked = []
    monkeypatch.setattr(TokenTracker, "count_tokens", lambda self, text: asked.append(text) or 1)
    tracker.count_batch(texts)
    assert len(asked) == 4


def test_a_batch_of_something_else_is_refused():
    """Each must be a string."""
    with pytest.raises(TypeError, match="text must be a string, not NoneType"):
        TokenTracker("gpt-4o").count_batch(["a", None])
