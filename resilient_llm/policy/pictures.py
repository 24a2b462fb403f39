"""The picture of a backend's limit, by what its headers told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .buckets import MINUTE, SOON, Bucket, Refilled

if TYPE_CHECKING:
    from .rate_headers import Told


def pictured(told: Told, unseen: float, age: float, now: float) -> Bucket:
    """The backend's bucket.

    Args:
        told: What it told.
        unseen: What was taken that it had not seen yet.
        age: How many seconds ago that was at most.
        now: Monotonic seconds.
    """
    name = f"the backend's limit on {told.counts.words}"
    if not told.steady:
        full_at = now + max(told.reset, SOON)
        return Refilled(name, told.counts, told.limit, 0.0, told.remaining - unseen, now, full_at)
    used = told.limit - told.remaining
    rate = used / told.reset if used and told.reset else told.limit / MINUTE
    level = told.remaining - max(0.0, unseen - rate * age)
    return Bucket(name, told.counts, told.limit, rate, level, now)
