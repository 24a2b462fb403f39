"""What stages hang on a response: plain functions that edit, translate and account, and limits on its reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVarTuple, Unpack

from .error_base import count_attempts
from .events import Finish

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from .body import Limit, ResponseInfo
    from .events import Event
    from .models import Attempt, Completion, PruneReport, Request
    from .outcome import Outcome
    from .wire.transcript import Transcript

Args = TypeVarTuple("Args")
Account: TypeAlias = "tuple[Callable[..., None], tuple[Any, ...]]"
"""A function, and what it is told before the outcome."""

THIS: Final = object()
"""Stands for the response itself in its accounts."""


class Hooks:
    """The half of a `Response` that stages use; what they add runs inner before outer."""

    request: Request
    info: ResponseInfo
    outcome: Outcome | None
    trace: Sequence[Attempt]
    pruned: PruneReport | None
    limits: list[Limit]
    _ready: deque[Event]
    _transcript: Transcript
    _on_event: list[Callable[[Event], Event]]
    _on_error: list[Callable[[Exception], Exception]]
    _on_settle: list[Account]

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped, when the answer has just been completed; for `on_settle` accounts."""
        last = self._ready[-1] if self._ready else None
        return last.reason if isinstance(last, Finish) else None

    def so_far(self) -> Completion:
        """The answer's text, reasoning and calls as far as they have come, read or not; for `on_settle` accounts."""
        return self._transcript.followed_by(self._ready).completion()

    def on_event(self, edit: Callable[[Event], Event]) -> None:
        """Have every event pass through `edit` on its way to the caller."""
        self._on_event.append(edit)

    def on_error(self, translate: Callable[[Exception], Exception]) -> None:
        """Have a failure of the body pass through `translate` before anyone sees it."""
        self._on_error.append(translate)

    def on_settle(self, account: Callable[[Unpack[Args], Outcome], None], *args: *Args) -> None:
        """Have `account` told how the response ended; at once, if it has. `args` are passed before the outcome.

        The response itself may be among them: it is not held by that, so that it settles as soon as it is dropped.
        """
        if self.outcome is not None:
            account(*args, self.outcome)
        else:
            self._on_settle.append((account, tuple(THIS if arg is self else arg for arg in args)))

    def limit(self, limit: Limit) -> None:
        """Bound the time of every pull from here on; the tightest of several limits counts."""
        self.limits.append(limit)

    def _completion(self) -> Completion:
        return self._transcript.completion(
            model=self.info.model or self.request.model,
            backend=self.info.backend,
            request_id=self.info.request_id,
            body=self.info.body,
            extra=self.info.extra,
            cached=self.info.cached,
            attempts=count_attempts(self.trace) or int(not self.info.cached),
            trace=tuple(self.trace),
            sent=self.request.messages,
            pruned=self.pruned,
        )
