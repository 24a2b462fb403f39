"""The time that one response may take from one event to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .body import tightest
from .timeout import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .body import Limit
    from .errors import LLMError


class Pulls:
    """Bounds each pull by the tightest limit; a pull that ended quiet is part of the next one."""

    __slots__ = ("_limit", "_quiet", "_watch")

    def __init__(self) -> None:
        self._watch: Watch | None = None
        self._limit: Limit | None = None
        self._quiet = False

    def begin(self, limits: Sequence[Limit]) -> None:
        """Watch the running task."""
        watch = self._watch
        if watch is None:
            watch = self._watch = Watch()
        if not self._quiet:
            seconds, self._limit = tightest(limits)
            watch.begin(seconds)
        elif self._limit is None:
            watch.begin(None)
        else:
            watch.resume()

    def end(self, exc: BaseException | None, *, quiet: bool = False) -> LLMError | None:
        """The pull is over; what to raise, if a limit struck.

        Args:
            exc: What it ended with.
            quiet: It brought nothing, and the limit goes on.
        """
        self._quiet = quiet
        struck = self._watch is not None and self._watch.end(exc)
        return self._limit.error() if struck and self._limit is not None else None
