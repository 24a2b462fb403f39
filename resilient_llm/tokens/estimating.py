"""Sizes that need no vocabulary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resilient_llm.models import Message

_DIGITS = re.compile(r"[0-9]{2,}")
# Each of these is at least one token.
_WORDS = re.compile(r"[A-Za-z]{3,}|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{4}")
_LONGEST_TOKENS = 6
"""Bytes that a token of prose covers at most, on average; a longer text for its tokens is worth a second look."""


def utf8_length(text: str) -> int:
    """The text's bytes in UTF-8, a lone surrogate counting three as the U+FFFD that replaces it.

    An upper bound of its tokens: every token of a byte-level BPE covers at least one byte.
    """
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def digit_surplus(text: str) -> int:
    """The tokens that digits read one by one take beyond digits read in threes, as OpenAI's models do."""
    return sum(length - (length + 2) // 3 for length in map(len, _DIGITS.findall(text)))


def surely_exceeds(messages: Iterable[Message], tokens: float) -> bool:
    """Do the messages hold more tokens than this, whatever the vocabulary?

    True is certain: no usual vocabulary has tokens that reach over several words, or over four Chinese or Japanese
    characters as a rule. False proves nothing. Only contents that are plain text count. Most calls are told by
    the texts' lengths, and no text is read further than needed.
    """
    texts = [content for message in messages if type(content := message.get("content")) is str]
    room = tokens * _LONGEST_TOKENS
    for text in texts:
        room -= len(text) if text.isascii() else 3 * len(text)
        if room < 0:
            break
    else:
        return False
    for text in texts:
        for _ in _WORDS.finditer(text):
            tokens -= 1
            if tokens < 0:
                return True
    return False
