"""What is logged: events with fields, through the standard library's logger `resilient_llm`.

Silent, and nearly free, until the application configures logging. A record's message is a line that people read, its
attribute `llm` the event and its fields as a dictionary.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import structlog

root = logging.getLogger()
logger = logging.getLogger("resilient_llm")
_SILENT = [logging.NullHandler()]
logger.addHandler(_SILENT[0])


def heard() -> bool:
    """Does any handler but our own NullHandler listen, to warnings at least?"""
    if (logger.handlers and logger.handlers != _SILENT) or (logger.propagate and root.handlers):
        return logger.isEnabledFor(logging.WARNING)
    return False


def log(level: int, event: str, **fields: object) -> None:
    """Log an event, if anyone listens; fields that are None are left out.

    Args:
        level: One of `logging`'s.
        event: Its name, `llm.` and a word; listed in `docs/reference/logging.md`.
        fields: What to say of it; never a prompt, an answer or a key.
    """
    if heard() and logger.isEnabledFor(level):
        events().log(level, event, **fields)


@cache
def events() -> structlog.stdlib.BoundLogger:
    """What logs events; fields bound with `structlog.contextvars.bind_contextvars` come along."""
    import structlog  # noqa: PLC0415 - costs 9 ms to import, or 40 with rich about, and most never log

    bound: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logger,
        processors=[structlog.contextvars.merge_contextvars, _render],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return bound


def _render(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, dict[str, Any]]]:
    """Give plain logging a readable line, and structured handlers the fields (`record.llm`)."""
    name = event.pop("event")
    fields = {key: value for key, value in event.items() if value is not None}
    line = " ".join([name, *(f"{key}={_shown(value)}" for key, value in fields.items())])
    return (line,), {"extra": {"llm": {"event": name, **fields}}}


def _shown(value: object) -> str:
    text = str(value)
    return repr(text) if " " in text or not text else text
