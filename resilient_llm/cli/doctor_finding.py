"""What a check of `resilient-llm doctor` says."""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen
class Finding:
    """What a check found.

    Args:
        check: Its name.
        state: `wrong` is what must be mended; `warning` is what may surprise.
        finding: What was found.
        next_step: What to do about it; empty if nothing.
    """

    check: str
    state: Literal["ok", "warning", "wrong"]
    finding: str
    next_step: str = ""
