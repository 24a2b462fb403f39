"""Sizes that need no vocabulary."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"[0-9]{2,}")


def utf8_length(text: str) -> int:
    """The text's bytes in UTF-8, a lone surrogate counting three as the U+FFFD that replaces it.

    An upper bound of its tokens: every token of a byte-level BPE covers at least one byte.
    """
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def digit_surplus(text: str) -> int:
    """The tokens that digits read one by one take beyond digits read in threes, as OpenAI's models do."""
    return sum(length - (length + 2) // 3 for length in map(len, _DIGITS.findall(text)))
