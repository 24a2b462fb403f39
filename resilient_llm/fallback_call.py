"""One call on its way from target to target."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, cast

from .errors import DeadlineExceededError, LLMError
from .events import FallingBack, Notice
from .models import Attempt, Extensions, Request
from .pipeline import name_of
from .policy.fallback import most_telling, real_error
from .policy.outcomes import Fall
from .targets import published_window

if TYPE_CHECKING:
    from .fallback import Fallback
    from .outcome import Outcome
    from .response import Response

OF_ONE_TARGET = frozenset({"recovers", "resume_from", "target"})
"""What `StreamRecovery` asks of the target whose stream broke, and of no other."""


class FallbackCall:
    """One call on its way from target to target; an observer of its own attempts.

    Attributes:
        place: Which target is asked now; 0: the stages that follow, 1: the first of `Fallback.targets`.
    """

    __slots__ = ("_began", "_due", "_failures", "_fallback", "_first", "_floor", "_request", "_told", "place")

    def __init__(self, fallback: Fallback, request: Request) -> None:
        self._fallback = fallback
        self._request = request
        self._failures: list[tuple[str, LLMError]] = []
        self._floor = 0
        self.place = 0
        if "target" in request.extensions:
            broken = request.extensions["target"]
            places = [place for place, target in enumerate(fallback.targets, 1) if target is broken]
            self.place = places[0] if places else 0
        self._first = self.place

    def __call__(self, notice: Notice) -> None:
        """Take note that a stage tells of attempts."""
        if type(notice) is Attempt:
            self._told = True

    def asked(self) -> Request:
        """The request as the target is to see it."""
        fallback, request = self._fallback, self._request
        self._told = False
        self._began = now = fallback.clock.monotonic()
        left = len(fallback.targets) + 1 - self.place
        self._due = fallback.policy.due(now, request.deadline, left)
        extensions, attempt, model = request.extensions, request.attempt, request.model
        if self.place != self._first:
            attempt = 1
            extensions = _without(extensions)
        if self.place:
            model = fallback.targets[self.place - 1].model_for(model, fallback.backend)
        if left > 1 and fallback.policy.max_wait is not None:
            longest = min(fallback.policy.max_wait, extensions.get("max_wait", fallback.policy.max_wait))
            extensions = cast("Extensions", {**extensions, "max_wait": longest})
        return Request(
            request.operation,
            request.messages,
            model,
            request.stream,
            request.params,
            self._due,
            attempt,
            extensions,
            (*request.observers, self),
        )

    def failed(self, error: LLMError) -> None:
        """Move on to the next target, or raise what the caller is to see."""
        now = self._fallback.clock.monotonic()
        backend, name = self._names(error)
        error.backend = error.backend or backend
        if not self._told and error is not self._request.extensions.get("recovers"):
            duration = 0.0 if error.local else now - self._began
            self._request.tell(Attempt(1, error.backend, duration, error=error))
        self._failures.append((name, real_error(error)))
        late = self._request.deadline is not None and now >= self._request.deadline
        if late or (isinstance(error, DeadlineExceededError) and self.place == len(self._fallback.targets)):
            self._raise(error)  # the call's own deadline
        place = self._next(error)
        if place is None:
            self._raise(most_telling([failure for _, failure in self._failures]))
        self.place = place
        self._request.tell(FallingBack(self._fallback.targets[place - 1].name, error))

    def answered(self, response: Response) -> Response:
        """Say who answers; from the first content on, all of the call's time is the answer's."""
        if self.place:
            response.target = self._fallback.targets[self.place - 1]
        if response.outcome is None and self._due != self._request.deadline:
            for limit in response.limits:
                if limit.deadline == self._due:
                    limit.deadline = self._request.deadline
        if self._failures and not response.info.cached:  # else the pipeline takes note of an untold call
            response.on_settle(self._settled, response)
        return response

    def _settled(self, response: Response, outcome: Outcome) -> None:
        if not self._told:
            error = outcome.error if isinstance(outcome.error, LLMError) else None
            duration = self._fallback.clock.monotonic() - self._began
            self._request.tell(Attempt(1, response.info.backend, duration, error=error))

    def _names(self, error: LLMError) -> tuple[str | None, str]:
        """What the backend is called, and what the target is."""
        if self.place:
            target = self._fallback.targets[self.place - 1]
            return name_of(target.transport), target.name
        backend = self._fallback.backend or error.backend
        return backend, backend or "the first target"

    def _next(self, error: LLMError) -> int | None:
        """The place of the target to ask now, if the error leads to one."""
        own = isinstance(error, DeadlineExceededError)  # the target's: it had its share of the time
        verdict = Fall.YES if own else self._fallback.policy.verdict(error)
        if verdict is Fall.NO:
            return None
        if verdict is Fall.LARGER:
            self._floor = max(self._floor, error.context_limit or self._window(self.place) or 0)
        places = range(self.place + 1, len(self._fallback.targets) + 1)
        return next((place for place in places if self._suits(place)), None)

    def _suits(self, place: int) -> bool:
        """Is its window larger than one that was too small? What is not known is tried."""
        window = self._window(place) if self._floor else None
        return window is None or window > self._floor

    def _window(self, place: int) -> int | None:
        if not place:
            return published_window(self._request.model)
        fallback = self._fallback
        model = fallback.targets[place - 1].model_for(self._request.model, fallback.backend)
        return fallback.opened[place - 1].window(model)

    def _raise(self, shown: LLMError) -> NoReturn:
        """Raise one error, with notes on the others."""
        failures, self._failures = self._failures, []  # no cycle of errors, their frames and this call
        for name, error in failures:
            if error is not shown and error is not shown.__cause__:
                shown.add_note(f"{name} failed: {error.code}: {error.message}")
        raise shown


def _without(extensions: Extensions) -> Extensions:
    """The extensions without what concerns another target."""
    if OF_ONE_TARGET.isdisjoint(extensions):
        return extensions
    kept = {key: value for key, value in extensions.items() if key not in OF_ONE_TARGET}
    return cast("Extensions", kept)
