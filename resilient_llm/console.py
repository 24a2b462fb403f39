"""The log for a developer's eyes: one line an event, in columns, with colours on a terminal."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

from .logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any


def show_logs(
    level: int | str = logging.INFO, *, stream: TextIO | None = None, colors: bool | None = None
) -> logging.Handler:
    """Show what is logged, while you develop: `rl.show_logs()`, or `rl.show_logs("debug")` for each attempt.

    Sets the level of the logger `resilient_llm` and adds a handler to it; called again, it takes the place of the one
    before. An application that has handlers of its own needs this not; see `docs/how-to/see-what-happens.md`.

    Args:
        level: What to show: `"debug"`, `"info"`, `"warning"`, or a number of `logging`.
        stream: Where to. Default: standard error.
        colors: Default: on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.

    Returns:
        The handler; `logging.getLogger("resilient_llm").removeHandler(handler)` ends it.

    Raises:
        ValueError: A level that does not exist.
    """
    level = level.upper() if isinstance(level, str) else level
    logger.setLevel(level)
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Console)]:
        logger.removeHandler(handler)
    shown = _Console(stream if stream is not None else sys.stderr)
    shown.setFormatter(_Columns(_wanted(shown.stream) if colors is None else colors))
    logger.addHandler(shown)
    return shown


def _wanted(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return False
    if sys.platform != "win32":
        return True
    from importlib.util import find_spec  # noqa: PLC0415 - colours need it there

    return find_spec("colorama") is not None


class _Console(logging.StreamHandler[TextIO]):
    """The handler that `show_logs` adds."""


class _Columns(logging.Formatter):
    """Lines by structlog's renderer for developers."""

    def __init__(self, colors: bool) -> None:
        super().__init__()
        import structlog.dev  # noqa: PLC0415 - imports rich where it is installed

        renderer: Callable[[Any, str, MutableMapping[str, Any]], str] = structlog.dev.ConsoleRenderer(
            colors=colors, sort_keys=False
        )
        self._line = renderer

    def format(self, record: logging.LogRecord) -> str:
        """A line; with a traceback if there is one."""
        fields: dict[str, Any] = getattr(record, "llm", None) or {"event": record.getMessage()}
        level = record.levelname.lower()
        when = f"{self.formatTime(record, '%H:%M:%S')}.{record.msecs:03.0f}"
        told = {"timestamp": when, "level": level, **fields}
        if record.exc_info:
            told["exc_info"] = record.exc_info
        return self._line(None, level, told)
