"""Which vocabulary a model uses.

The rule of tiktoken's own table, in a form that needs no import of tiktoken; one difference: a fine-tune uses
the vocabulary of its base model, so `ft:gpt-4.1…` is o200k_base (tiktoken's prefix `ft:gpt-4` catches it
first).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from .names import bare_name

EncodingName: TypeAlias = Literal["cl100k_base", "o200k_base"]

_FAMILIES: tuple[tuple[EncodingName, tuple[str, ...]], ...] = (
    (
        "o200k_base",
        (
            "gpt-5-",
            "gpt-5.",
            "gpt-4o-",
            "gpt-4.1-",
            "gpt-4.5-",
            "chatgpt-4o-",
            "o1-",
            "o3-",
            "o4-mini-",
            "gpt-oss-",
        ),
    ),
    (
        "cl100k_base",
        (
            "gpt-4-",
            "gpt-3.5-",
            "gpt-35-turbo-",
            "text-embedding-3-",
            "text-embedding-ada-002-",
            "davinci-002-",
            "babbage-002-",
        ),
    ),
)


def encoding_name(model: str) -> EncodingName | None:
    """The model's vocabulary, or None where its maker publishes none or this package does not carry it.

    gpt-oss counts as o200k_base: its own o200k_harmony differs in control tokens only, which text never
    holds.
    """
    name = f"{bare_name(model)}-"
    for encoding, prefixes in _FAMILIES:
        if name.startswith(prefixes):
            return encoding
    return None
