"""What was learned about models: the window that is really theirs, and how far our counts are off.

Three teachers: a refusal that names sizes (`overflow`), the tokens that a backend reports for a prompt that was
counted here, and a prompt that came back with fewer tokens than it surely had. What is learned errs on the safe
side: a ratio is the largest of the last few and never below 1, so that an estimate is corrected upwards only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

import attrs

MAX_MODELS: Final = 1024
RECENT: Final = 32
LARGEST_RATIO: Final = 8.0
"""Vocabularies differ by less; a larger ratio has another cause, such as a prompt that a gateway adds."""

TELLING: Final = 256
"""Prompts that we take for fewer tokens teach no ratio: what a template adds to them weighs too much."""

SMALLEST_CUT: Final = 512
"""Fewer tokens than this are no window: a backend that reports so few of a long prompt counts something else."""


@attrs.frozen
class Lesson:
    """What is known of a model.

    Args:
        window: Its window in tokens, if it differs from what others say.
        ratio: The backend's tokens for each of ours; 1 or more.
        recent: The ratios seen last, from 0 up to the largest allowed.
        largest: The most tokens of a prompt that the backend has reported.
    """

    window: int | None = None
    ratio: float = 1.0
    recent: tuple[float, ...] = ()
    largest: int = 0

    def seen(self, ratio: float) -> Lesson:
        """With one more ratio."""
        recent = (*self.recent[1 - RECENT :], min(ratio, LARGEST_RATIO))
        return attrs.evolve(self, ratio=max(1.0, *recent), recent=recent)


NOTHING: Final = Lesson()


class Lessons:
    """Lessons by model, bounded, safe to share between threads."""

    def __init__(self) -> None:
        self._lessons: OrderedDict[str, Lesson] = OrderedDict()
        self._lock = threading.RLock()  # a response may be collected, and settle, within

    def get(self, model: str) -> Lesson:
        """What is known of a model."""
        return self._lessons.get(model, NOTHING)

    def refused(self, model: str, window: int, ratio: float) -> Lesson:
        """Learn from a refusal: the newest window counts, and what was seen before with the same one."""
        with self._lock:
            known = self.get(model)
            if known.window not in {None, window}:
                known = NOTHING
            return self._keep(model, attrs.evolve(known.seen(ratio), window=window))

    def reported(self, model: str, tokens: int, estimate: int | None) -> None:
        """Learn from the tokens that a backend reports for a prompt.

        Args:
            model: The model.
            tokens: The prompt's size as the backend counted it.
            estimate: The same as we did, if we did.
        """
        telling = estimate is not None and estimate >= TELLING
        if not telling and tokens <= self.get(model).largest:
            return
        with self._lock:
            known = self.get(model)
            if telling and estimate:
                known = known.seen(tokens / estimate)
            self._keep(model, attrs.evolve(known, largest=max(tokens, known.largest)))

    def cut(self, model: str, tokens: int) -> int | None:
        """Learn from a prompt of which the backend reports fewer tokens than it surely had.

        The window is taken for the next power of two, as most are; if prompts within that are cut as well, for what
        was reported. A model that was seen with more is not believed to have cut anything: there are backends that
        leave out of their report what they had in a cache.

        Returns:
            The window learned; None if nothing is.
        """
        if tokens < SMALLEST_CUT:
            return None
        window = 1 << (tokens - 1).bit_length()
        with self._lock:
            known = self.get(model)
            if known.window is not None and known.window <= window:
                window = tokens
            if known.largest > window or (known.window is not None and known.window <= window):
                return None
            self._keep(model, attrs.evolve(known, window=window, largest=max(tokens, known.largest)))
            return window

    def _keep(self, model: str, lesson: Lesson) -> Lesson:
        self._lessons[model] = lesson
        self._lessons.move_to_end(model)
        if len(self._lessons) > MAX_MODELS:
            self._lessons.popitem(last=False)
        return lesson
