"""What an overflow error says: the window, and how far our estimate was off."""

from __future__ import annotations

import math
from typing import Final

BLIND_SHARE: Final = 0.5
"""Which share of an estimated size to send again when the backend told no size and the estimate had fitted."""


def answer_share(asked: int | None, window: int) -> int:
    """The tokens to keep free for the answer.

    What was asked for; but of a window that could not even hold that, a quarter. A backend that insists on
    `max_tokens` refuses such a call whatever its prompt, one that does not ends the answer where the window ends.
    """
    if asked is None or asked < window:
        return asked or 0
    return window // 4


def told_by(
    *, limit: int | None, requested: int | None, estimate: int, asked: int | None, window: int | None
) -> tuple[int, float] | None:
    """What an overflow error says about a prompt that we took for `estimate` tokens.

    Args:
        limit: The window that the error names, if it does.
        requested: The size that the error names, if it does. Backends differ in whether that includes the
            tokens of the answer; taking it for the prompt's alone errs on the safe side.
        estimate: Our count of prompt and definitions.
        asked: The tokens asked for as answer, if any were.
        window: The window as far as it was known before.

    Returns:
        The window, and the backend's tokens for each of ours; None if neither the error nor anyone else knows the
        window.
    """
    size = limit or window
    if size is None or estimate <= 0:
        return None
    reserved = answer_share(asked, size)
    if requested is not None:
        return size, max(1.0, requested / estimate)
    if estimate > size - reserved:
        return size, 1.0
    return size, (size - reserved) / (estimate * BLIND_SHARE)


def in_our_tokens(budget: int, ratio: float) -> int:
    """A budget in the backend's tokens as one in ours, rounded down."""
    return math.floor(budget / ratio)
