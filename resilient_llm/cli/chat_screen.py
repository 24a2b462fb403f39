"""What a person sees: the answer on standard output, notices and errors on standard error."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Final

from rich.console import Console

from resilient_llm.errors import ErrorCode
from resilient_llm.events import Event, Finish, ReasoningDelta, TextDelta, Waiting
from resilient_llm.models import Attempt, PruneReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient_llm.errors import LLMError
    from resilient_llm.events import Notice

LONGEST: Final = 200
"""Characters of an error's message in a notice."""

_CONTROL: Final = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])


def printable(text: str) -> str:
    """The text without control characters: neither a model nor a server may steer the terminal."""
    return text.translate(_CONTROL)


def one_line(text: str) -> str:
    """The text on one line."""
    return printable(" ".join(text.split()))


class _Notices(Console):
    """Standard error. That nobody reads it is no reason to exit, as rich would."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Screen:
    """Writes; coloured only on a terminal, and not if `NO_COLOR` is set.

    Args:
        quiet: Write no notices.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._err = _Notices(
            stderr=True,
            markup=False,
            emoji=False,
            highlight=False,
            soft_wrap=True,
            color_system=None if os.environ.get("NO_COLOR") else "auto",
        )
        self._terminal = sys.stdout.isatty()
        self._open = ""
        self._later: list[tuple[str, str]] = []
        self._loading = False

    # The answer ...

    def show(self, event: Event) -> None:
        """Write an event of an answer."""
        match event:
            case TextDelta(text):
                self._switch("answer")
                sys.stdout.write(printable(text) if self._terminal else text)
                sys.stdout.flush()
            case ReasoningDelta(text) if self._err.is_terminal and not self.quiet:
                self._switch("thoughts")
                self._write(printable(text), "dim italic", end="")
            case Finish():
                self._switch("")
            case _:
                pass

    def end_line(self) -> None:
        """End the line of an answer that broke off."""
        self._switch("")

    def new_line(self) -> None:
        """Leave the line on which somebody was about to type."""
        print(file=sys.stdout if self._terminal else sys.stderr)

    def _switch(self, part: str) -> None:
        """Begin another part on a line of its own."""
        if self._open == part:
            return
        before, self._open = self._open, part
        if before == "answer":
            sys.stdout.write("\n")
            sys.stdout.flush()
        elif before == "thoughts":
            self._write("", "")
        while self._later and not part:
            self._write(*self._later.pop(0))

    # Notices and errors ...

    def notice(self, line: str, style: str = "yellow") -> None:
        """Write a line for people, unless they asked for quiet."""
        if not self.quiet:
            self._print(one_line(line), style)

    def error(self, error: object) -> None:
        """Write an error's line; it ends the answer."""
        self._switch("")
        self._print(one_line(f"error: {error}"), "red")

    def event(self, line: str) -> None:
        """Write a line of the log."""
        self._print(one_line(line), "dim")

    def observe(self, notice: Notice) -> None:
        """Tell of what happens during a call; an observer."""
        match notice:
            case Waiting(error=error) if error.code is ErrorCode.MODEL_LOADING:
                if not self._loading:
                    self.notice(f"waiting: {_brief(error)}; asking once a second")
                self._loading = True
            case Waiting(seconds=seconds, error=error) if error.local:
                self.notice(f"waiting: {_brief(error)}; attempt {notice.attempt} {_when(seconds)}")
            case Waiting(seconds=seconds, error=error, attempt=number):
                self.notice(f"retry: {_brief(error)}; attempt {number + 1} {_when(seconds)}")
            case PruneReport():
                self.notice(
                    f"pruned: the oldest messages ({notice.dropped}) are left out, "
                    f"{notice.tokens_before} tokens are now {notice.tokens_after}, {notice.budget} fit"
                )
            case Attempt(error=None):
                self._loading = False
            case _:
                pass

    def _print(self, line: str, style: str) -> None:
        """Write a line, but not into an answer: what is told meanwhile follows it."""
        if self._open == "answer":
            self._later.append((line, style))
        else:
            self._switch("")
            self._write(line, style)

    def _write(self, text: str, style: str, end: str = "\n") -> None:
        with contextlib.suppress(OSError):  # a full disk, say: no reason to lose the answer
            self._err.print(text, style=style, end=end)


def _brief(error: LLMError) -> str:
    where = ", ".join(filter(None, (error.backend, f"HTTP {error.status}" if error.status else None)))
    message = one_line(error.message)
    cut = f"{message[:LONGEST]}..." if len(message) > LONGEST else message
    return f"{error.code}{f' ({where})' if where else ''}: {cut}"


def _when(seconds: float) -> str:
    if seconds < 0.05:
        return "at once"
    return f"in {seconds:.1f} s" if seconds < 10 else f"in {seconds:.0f} s"


class _Lines(logging.Handler):
    def __init__(self, screen: Screen, level: int) -> None:
        super().__init__(level)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and not record.getMessage().startswith("llm."):
            self._screen.notice(f"warning: {record.getMessage()}")
        else:
            self._screen.event(record.getMessage())


@contextlib.contextmanager
def logged(screen: Screen, *, verbose: bool) -> Iterator[None]:
    """Show the log while this lasts: all events, or else only what the transports warn of."""
    logger = logging.getLogger("resilient_llm" if verbose else "resilient_llm.transports")
    level = logging.DEBUG if verbose else logging.WARNING
    handler, before = _Lines(screen, level), logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
