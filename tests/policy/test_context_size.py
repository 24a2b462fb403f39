"""The sizes that an overflow names."""

from __future__ import annotations

import pytest

from resilient_llm.policy.context_size import Overflow, read_overflow


@pytest.mark.parametrize(
    ("text", "limit", "requested"),
    [
        (
            "the maximum context length is 4096 tokens. however, you requested 5000 tokens (4500 in the messages)",
            4096,
            5000,
        ),
        (
            "maximum context length is 4096 tokens. however, your messages resulted in 5,001 tokens",
            4096,
            5001,
        ),
        ("prompt is too long: 300 tokens > 200 maximum", 200, 300),
        (
            "input length and `max_tokens` exceed context limit: 150 + 60 > 200, decrease input length",
            200,
            210,
        ),
        ("the input token count (12) exceeds the maximum number of tokens allowed (10).", 10, 12),
        (
            "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it",
            4096,
            9000,
        ),
        (
            "prompt contains 15 tokens and 2 draft tokens, too large for model with 10 maximum context length",
            10,
            17,
        ),
        ("this model's maximum prompt length is 10 but the request contains 12 tokens.", 10, 12),
        (
            "`inputs` tokens + `max_new_tokens` must be <= 10. given: 8 `inputs` tokens and 4 `max_new_tokens`",
            10,
            12,
        ),
        (
            "you passed 12 input tokens and requested 3 output tokens. the model's context length is only 10 tokens",
            10,
            15,
        ),
        ("the prompt is too long: 14, model maximum context length: 13", 13, 14),
        ("current length is 13 while limit is 12", 12, 13),
        ("range of input length should be [1, 30720]", 30720, None),
        (
            "too many tokens: size limit exceeded by 25 tokens. the limit for this model is 288 tokens.",
            288,
            None,
        ),
        ("your input exceeds the context window of this model", None, None),
        ("max_tokens is too large: 32. this model supports at most 16 completion tokens", None, None),
        ("max_tokens: 100 > 64, which is the maximum allowed number of output tokens", None, None),
        ("invalid params, context window exceeds limit (2013)", None, None),
        ("n_keep: 135 >= n_ctx: 36", 36, 135),
    ],
)
def test_wordings(text: str, limit: int | None, requested: int | None) -> None:
    """Limit and request are told apart; caps on the answer and mere excesses are neither."""
    assert read_overflow(text, {}) == Overflow(limit, requested)


def test_fields_are_believed_first() -> None:
    """llama.cpp gives both as numbers."""
    sizes = {"nctx": 4096, "nprompttokens": 5000}
    assert read_overflow(
        "request (1 tokens) exceeds the available context size (2 tokens)", sizes
    ) == Overflow(4096, 5000)


def test_a_single_field_is_completed_by_the_words() -> None:
    """What no field says is read from the sentence."""
    assert read_overflow("request (50 tokens) exceeds the available context size", {"nctx": 40}) == Overflow(
        40, 50
    )


def test_equal_numbers_are_both() -> None:
    """A limit equal to the request is still the limit."""
    assert read_overflow("the limit is 10 tokens, requested 10 tokens", {}) == Overflow(10, 10)
