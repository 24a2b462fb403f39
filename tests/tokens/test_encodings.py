"""Model names and their vocabularies."""

from __future__ import annotations

import pytest
from tiktoken.model import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING

from resilient_llm.tokens import encoding_name
from resilient_llm.tokens.vocabulary import PATTERNS

OURS = {**{name: name for name in PATTERNS}, "o200k_harmony": "o200k_base"}


@pytest.mark.parametrize(("model", "encoding"), sorted(MODEL_TO_ENCODING.items()))
def test_every_model_that_tiktoken_names_has_its_encoding(model, encoding):
    """The table agrees with tiktoken's own; what has an encoding that is not carried here is unknown."""
    assert encoding_name(model) == OURS.get(encoding)


@pytest.mark.parametrize(("prefix", "encoding"), sorted(MODEL_PREFIX_TO_ENCODING.items()))
def test_every_prefix_that_tiktoken_names_has_its_encoding(prefix, encoding):
    """Dated and fine-tuned models follow their family."""
    assert encoding_name(f"{prefix.removesuffix('-')}-2026-01-01") == OURS.get(encoding)


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-5.1", "o200k_base"),
        ("gpt-5-mini", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-oss:20b", "o200k_base"),
        ("openai/gpt-oss-20b", "o200k_base"),
        ("openrouter/openai/gpt-4o", "o200k_base"),
        ("GPT-4o", "o200k_base"),
        ("ft:gpt-4.1-mini-2025-04-14:acme::id", "o200k_base"),
        ("ft:gpt-4:acme::id", "cl100k_base"),
        ("gpt-4-32k-0613", "cl100k_base"),
    ],
)
def test_the_forms_in_which_names_are_written(model, encoding):
    """Makers' prefixes, tags, fine-tunes and capitals do not hide a known model."""
    assert encoding_name(model) == encoding


@pytest.mark.parametrize(
    "model",
    [
        "",
        "qwen3-8b",
        "claude-opus-4-6",
        "someone/gpt-4o-distilled",
        "gpt-6",
        "gpt-4ever",
        "gpt-4.2",
        "o1x",
        "gpt2",
    ],
)
def test_other_models_have_no_encoding(model):
    """A name that merely looks alike is not taken for a known model."""
    assert encoding_name(model) is None
