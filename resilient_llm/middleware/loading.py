"""While a model is loading, the callers of a target wait together, and one request a second asks how it is.

The rules of this file:

- A model stands here from the first refusal until any other answer, whoever gets it. Who wants to call it meanwhile
  joins its line before anything is sent.
- The first in line asks when the time has come, and leaves the line for it; refused again, it joins at the end.
  So a caller that is cancelled, or gives up, takes nothing along: the next one is first.
- A refusal after which nobody asked again in time is forgotten: who left has taken the interest along.
- An answer on its way keeps nobody from asking a second later: that it is not refused at once may mean that the
  model is there.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from resilient_llm.line import Line
from resilient_llm.policy.backoff import LOADING_POLL

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_llm.clock import Clock
    from resilient_llm.errors import LLMError


class _Model:
    """One that is loading."""

    def __init__(self, error: LLMError, again: float) -> None:
        self.error: LLMError | None = error  # None: it answers
        self.again = again
        self.line = Line()


class LoadingModels:
    """The models of one target that are loading; safe to share between threads and event loops.

    Attributes:
        models: By name; mostly none.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self.models: dict[str, _Model] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def refused(self, name: str, error: LLMError, again: float) -> None:
        """Take note of a refusal: the model is loading, and is not to be asked before the instant `again`."""
        with self._lock:
            model = self.models.setdefault(name, _Model(error, again))
            model.error, model.again = error, max(model.again, again)

    def answered(self, name: str) -> None:
        """Take note of any other answer: everyone may go, and see for themselves."""
        with self._lock:
            model = self.models.pop(name, None)
        if model is not None:
            model.error = None
            model.line.wake_all()

    async def turn(self, name: str, until: float, tell: Callable[[float, LLMError], None]) -> LLMError | None:
        """Wait until the model may be asked: because it answers, or because it is one's turn to find out.

        Args:
            name: The model.
            until: The instant at which the caller's patience ends.
            tell: Told once, should there be a wait, how long it is to the next question, and why.

        Returns:
            The refusal that stands when the patience has ended; None if the model may be asked.
        """
        model = self._known(name)
        if model is None or (error := model.error) is None:
            return None
        with model.line.join() as place:
            tell(max(0.0, model.again - self._clock.monotonic()), error)
            while (error := model.error) is not None:
                now = self._clock.monotonic()
                if now >= until:
                    return error
                if place.first and self._claim(model, now):
                    return None
                end = min(until, model.again) if place.first else until
                await place.wait(end - now)
        return None

    def _known(self, name: str) -> _Model | None:
        with self._lock:
            model = self.models.get(name)
            if model and not len(model.line) and self._clock.monotonic() >= model.again + LOADING_POLL:
                del self.models[name]
                return None
        return model

    def _claim(self, model: _Model, now: float) -> bool:
        with self._lock:
            if now < model.again:
                return False
            model.again = now + LOADING_POLL
        return True
