"""A reading's sentences: as the rules want them, and as people want them."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from .scrub import scrub

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .classify_body import Reading

LENGTH: Final = 300
"""Characters of an error's message."""

_WORDS: Final = 8_000
_TEXT: Final = 2_000
_STOPS: Final = " .。…"
_QUOTES: Final = str.maketrans({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'})


@cache
def _url() -> re.Pattern[str]:
    return re.compile(r"https?://[^\s\"')>]{1,500}")


def words_of(reading: Reading) -> str:
    """The sentences as the rules want them: lower case, no URLs, single spaces, innermost first."""
    joined = " . ".join(text[:_TEXT] for text in reading.texts)[:_WORDS].translate(_QUOTES).lower()
    return " ".join(_url().sub(" ", joined).replace("\\n", " ").split())


@cache
def _quote() -> re.Pattern[str]:
    # a quotation that is no value of printed JSON, or the path of a field
    return re.compile(
        r"(?<![\w'\":=])(?<![:=] )(?:'[^']{1,200}'|\"[^\"]{1,200}\")(?!\w)"
        r"|(?<=[a-z]: )(?:'[^'{]{1,200}'|\"[^\"{]{1,200}\")(?!\w)"
        r"|\b[a-z_]\w{0,60}(?:\.\w{1,60}){2,12}"
    )


def unquoted(words: str) -> str:
    """The sentences without what they quote: names and values that a complaint repeats."""
    return _quote().sub(" ", words)


def shorten(text: str) -> str:
    """One line of at most `LENGTH` characters, without secrets and without a full stop."""
    line = "".join(character if character.isprintable() else " " for character in text[:_TEXT])
    line = scrub(" ".join(line.split())).rstrip(_STOPS)
    return line if len(line) <= LENGTH else f"{line[: LENGTH - 1].rstrip(_STOPS)}…"


@cache
def _number() -> re.Pattern[str]:
    return re.compile(r"^\[(?:Errno|WinError) -?\d{1,9}\] ")


def told_once(texts: Iterable[str]) -> str:
    """What the links of a chain of exceptions say, outermost first; what one of them repeats is said once."""
    kept: list[str] = []
    for text in texts:
        told = text.strip().rstrip(_STOPS)
        if any(_bare(told) in other.casefold() for other in kept):
            continue
        kept = [other for other in kept if _bare(other) not in told.casefold()]
        kept.append(told)
    return ": ".join(kept)


def _bare(told: str) -> str:
    """A sentence without the number that operating systems put before it."""
    return _number().sub("", told).casefold()


def said(reading: Reading) -> str:
    """The innermost sentence that says something, short and without secrets."""
    first = reading.texts[0] if reading.texts else ""
    return shorten(next((text for text in reading.texts if " " in text), first))
