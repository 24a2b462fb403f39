"""Limits by model name, and what they leave to the messages."""

from __future__ import annotations

import pytest

from resilient_llm.tokens import ContextWindow, context_window, message_budget


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4", 8_192),
        ("gpt-4-32k-0613", 32_768),
        ("gpt-4-turbo-2024-04-09", 128_000),
        ("gpt-4o-mini", 128_000),
        ("gpt-4.1-nano", 1_047_576),
        ("o3-mini-2025-01-31", 200_000),
        ("gpt-5.4-mini", 400_000),
        ("gpt-5.4-pro", 1_050_000),
        ("gpt-5.2-chat-latest", 128_000),
        ("ft:gpt-4o-2024-08-06:acme::id", 128_000),
        ("openai/gpt-oss-20b", 131_072),
        ("claude-3-5-sonnet-20241022", 200_000),
        ("claude-3-5-sonnet@20240620", 200_000),
        ("anthropic/claude-opus-4.6", 1_000_000),
        ("claude-opus-4-20250514", 200_000),
        ("claude-opus-4-5-20251101", 200_000),
    ],
)
def test_the_longest_listed_name_decides(model, tokens):
    """Dated, suffixed and prefixed names have the limits of the longest name listed."""
    window = context_window(model)
    assert window is not None
    assert window.tokens == tokens


@pytest.mark.parametrize("model", ["", "-", "qwen3-8b", "gpt", "gpt-4ever", "gpt-4.7", "someone/gpt-4o"])
def test_an_unknown_model_has_no_window(model):
    """The table does not guess."""
    assert context_window(model) is None


def test_reasoning_models_have_an_input_limit():
    """gpt-5 takes 272,000 tokens of input although its window is larger."""
    assert context_window("gpt-5-mini") == ContextWindow(400_000, input_limit=272_000, max_output=128_000)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-5", "gpt-5.6-sol", "claude-sonnet-5", "o1", "gpt-3.5-turbo"]
)
def test_every_window_holds_its_longest_answer(model):
    """No entry has window and output swapped."""
    window = context_window(model)
    assert window is not None
    assert (window.max_output or 0) <= window.tokens


def test_the_answer_and_the_definitions_come_off_the_window():
    """With an exact count nothing is kept back."""
    assert message_budget(8_192, max_tokens=1_000, definitions=192) == 7_000


def test_an_estimate_keeps_back_a_margin():
    """Three hundredths of the window, rounded up, unless told otherwise."""
    assert message_budget(1_001, exact=False) == 1_001 - 31
    assert message_budget(1_000, exact=False, margin=0) == 1_000


def test_the_input_limit_holds_however_short_the_answer():
    """The smaller of the input limit and what the answer leaves counts."""
    window = ContextWindow(400_000, input_limit=272_000)
    assert message_budget(window, max_tokens=1_000) == 272_000
    assert message_budget(window, max_tokens=200_000, definitions=1_000) == 199_000


def test_a_budget_may_be_below_zero():
    """Then nothing fits, and pruning says by how much."""
    assert message_budget(100, max_tokens=200) == -100


def test_a_window_below_zero_is_refused():
    """A window is a whole number of 0 or more."""
    with pytest.raises(ValueError, match="tokens must be 0 or more, not -1"):
        ContextWindow(-1)
