"""What a person types or pipes."""

from __future__ import annotations

import contextlib
import io
import sys
from threading import Timer
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .chat_screen import Screen

PROMPT: Final = "> "
QUIT: Final = frozenset({"/quit", "/exit"})
PATIENCE: Final = 3.0
"""Seconds after which a pipe that stays silent is mentioned."""


def forgive() -> None:
    """Have what the terminal's encoding cannot say replaced, instead of failing."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def at_a_terminal() -> bool:
    """Does somebody sit at standard input?"""
    return sys.stdin is not None and sys.stdin.isatty()


def question(prompt: str | None, screen: Screen) -> str:
    """The prompt and the text that is piped in, whichever there is; empty if neither."""
    asked = (prompt or "").encode("utf-8", "replace").decode()  # a shell's bytes may be no text
    parts = [asked.strip(), "" if at_a_terminal() else piped(screen).strip()]
    return "\n\n".join(part for part in parts if part)


def piped(screen: Screen) -> str:
    """What is piped in, to its end; a pipe that stays silent is mentioned."""
    if sys.stdin is None:
        return ""
    hint = Timer(PATIENCE, screen.notice, ("reading standard input to its end; </dev/null if there is none",))
    hint.daemon = True
    hint.start()
    try:
        return sys.stdin.read()
    finally:
        hint.cancel()


def lines(screen: Screen) -> Iterator[str]:
    """What is typed, line by line, until `/quit`, the end of input, or Ctrl-C twice in a row."""
    if sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401, PLC0415 - gives `input` editing and a memory
    interrupted = False
    while True:
        try:
            line = _ask().strip()
        except EOFError:
            screen.new_line()
            return
        except KeyboardInterrupt:
            screen.new_line()
            if interrupted:
                return
            interrupted = True
            screen.notice("Ctrl-C once more, Ctrl-D or /quit ends")
            continue
        interrupted = False
        if line in QUIT:
            return
        if line:
            yield line


def _ask() -> str:
    if sys.stdout.isatty():
        return input(PROMPT)
    sys.stderr.write(PROMPT)  # the answers go elsewhere
    sys.stderr.flush()
    return input()
