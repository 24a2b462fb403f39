"""What an overflow error teaches: a model's real window, and how far our estimate was off."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict

import attrs

MAX_MODELS = 1024
BLIND_SHARE = 0.5
"""Which share of an estimated size to send again when the backend told no size and the estimate had fitted."""


@attrs.frozen
class Lesson:
    """What is known of a model since it refused a prompt.

    Args:
        window: Its window in tokens.
        ratio: The backend's tokens for each of ours; 1 or more: under-counting is what is avoided.
    """

    window: int
    ratio: float = 1.0


class Lessons:
    """Lessons by model, bounded, safe to share between threads."""

    def __init__(self) -> None:
        self._lessons: OrderedDict[str, Lesson] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, model: str) -> Lesson | None:
        """What is known of a model."""
        return self._lessons.get(model)

    def learn(self, model: str, lesson: Lesson) -> None:
        """Remember the newest window, and the largest ratio seen with it."""
        with self._lock:
            known = self._lessons.get(model)
            if known is not None and known.window == lesson.window:
                lesson = attrs.evolve(lesson, ratio=max(known.ratio, lesson.ratio))
            self._lessons[model] = lesson
            self._lessons.move_to_end(model)
            if len(self._lessons) > MAX_MODELS:
                self._lessons.popitem(last=False)


def answer_share(asked: int | None, window: int) -> int:
    """The tokens to keep free for the answer.

    What was asked for; but of a window that could not even hold that, a quarter. A backend that insists on
    `max_tokens` refuses such a call whatever its prompt, one that does not ends the answer where the window ends.
    """
    if asked is None or asked < window:
        return asked or 0
    return window // 4


def lesson_of(
    *, limit: int | None, requested: int | None, estimate: int, asked: int | None, window: int | None
) -> Lesson | None:
    """What an overflow error says about a prompt that we took for `estimate` tokens.

    Args:
        limit: The window that the error names, if it does.
        requested: The size that the error names, if it does. Backends differ in whether that includes the
            tokens of the answer; taking it for the prompt's alone errs on the safe side.
        estimate: Our count of prompt and definitions.
        asked: The tokens asked for as answer, if any were.
        window: The window as far as it was known before.

    Returns:
        None if neither the error nor anyone else knows the window.
    """
    size = limit or window
    if size is None or estimate <= 0:
        return None
    reserved = answer_share(asked, size)
    if requested is not None:
        return Lesson(size, max(1.0, requested / estimate))
    if estimate > size - reserved:
        return Lesson(size)
    return Lesson(size, (size - reserved) / (estimate * BLIND_SHARE))


def in_our_tokens(budget: int, ratio: float) -> int:
    """A budget in the backend's tokens as one in ours, rounded down."""
    return math.floor(budget / ratio)
