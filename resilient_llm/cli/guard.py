"""How every command ends: an exit status, a line for each error, never a traceback."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from resilient_llm.errors import LLMError
from resilient_llm.settings import SettingsError

from . import chat_input, chat_json
from .chat_screen import Screen, logged

if TYPE_CHECKING:
    from collections.abc import Callable

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130


def guarded(
    work: Callable[[Screen], int], *, as_json: bool = False, quiet: bool = False, verbose: bool = False
) -> int:
    """Run a command, and give its exit status.

    Args:
        work: The command; it may raise what this reports.
        as_json: Print a failed call as an object, too.
        quiet: Write no notices.
        verbose: Write the log.
    """
    chat_input.forgive()
    screen = Screen(quiet=quiet)
    try:
        with logged(screen, verbose=verbose):
            return _reported(work, screen, as_json=as_json)
    except KeyboardInterrupt:
        screen.end_line()
        return INTERRUPTED
    except OSError as exc:
        # nobody reads any more, or the disk is full: the interpreter's last flush must find a file that takes it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(exc, BrokenPipeError):
            return OK
        screen.error(f"{exc.filename}: {exc.strerror}" if exc.filename else exc)
        return FAILED


def _reported(work: Callable[[Screen], int], screen: Screen, *, as_json: bool) -> int:
    try:
        return work(screen)
    except LLMError as error:
        screen.error(error)
        if as_json:
            chat_json.write({"error": chat_json.error(error)})
        return FAILED
    except SettingsError as error:
        screen.error(error)
        return USAGE
