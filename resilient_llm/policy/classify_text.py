"""A reading's sentences: as the rules want them, and as people want them."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from .scrub import scrub

if TYPE_CHECKING:
    from .classify_body import Reading

LENGTH: Final = 300
"""Characters of an error's message."""

_WORDS: Final = 8_000
_TEXT: Final = 2_000
_QUOTES: Final = str.maketrans({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0xA0: " "})


@cache
def _url() -> re.Pattern[str]:
    return re.compile(r"https?://[^\s\"')>]{1,500}")


def words_of(reading: Reading) -> str:
    """The sentences as the rules want them: lower case, no URLs, single spaces, innermost first."""
    joined = " . ".join(text[:_TEXT] for text in reading.texts)[:_WORDS].translate(_QUOTES).lower()
    return " ".join(_url().sub(" ", joined).replace("\\n", " ").split())


def shorten(text: str) -> str:
    """One line of at most `LENGTH` characters, without secrets."""
    line = "".join(character if character.isprintable() else " " for character in text[:_TEXT])
    line = scrub(" ".join(line.split())).rstrip(" .")
    return line if len(line) <= LENGTH else f"{line[: LENGTH - 1]}…"


def said(reading: Reading) -> str:
    """The innermost sentence that says something, short and without secrets."""
    first = reading.texts[0] if reading.texts else ""
    return shorten(next((text for text in reading.texts if " " in text), first))
