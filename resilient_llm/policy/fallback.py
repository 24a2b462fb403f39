"""When the next target is asked, how long each may take, and which of several errors tells most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from resilient_llm.errors import DeadlineExceededError, ErrorCode, LLMError
from resilient_llm.policy.outcomes import OUTCOMES, Fall, Row, fallback_for, whole_table
from resilient_llm.validators import optional_non_negative, optional_ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@attrs.frozen(kw_only=True)
class FallbackPolicy:
    """What leads to the next target.

    Args:
        share: The part of the remaining time that a target which is not the last may use, above 0 and at most 1;
            None: equal parts for all that are left.
        patience: Seconds that such a target's stages may wait at a time; None: as long as they would anyway.
        on_rate_limit: Does a rate limit lead to the next target?
        on_auth: Does a wrong key?
        outcomes: The table; its column `fallback` decides the rest.
    """

    share: float | None = attrs.field(default=None, validator=optional_ratio)
    patience: float | None = attrs.field(default=1.0, validator=optional_non_negative)
    on_rate_limit: bool = True
    on_auth: bool = False
    outcomes: Mapping[ErrorCode, Row] = attrs.field(default=OUTCOMES, validator=whole_table)

    @property
    def max_wait(self) -> float | None:
        """How long stages may wait where there is another target; None: as if there were none."""
        return self.patience if self.on_rate_limit else None

    def verdict(self, error: LLMError) -> Fall:
        """Is the next target asked after an error? `YES`, `NO`, or one with a `LARGER` window."""
        fall = fallback_for(error, self.outcomes)
        if fall is Fall.OPTIONAL:
            return Fall.YES if self.on_rate_limit else Fall.NO
        if fall is Fall.POLICY:
            return Fall.YES if self.on_auth else Fall.NO
        return fall

    def due(self, now: float, deadline: float | None, left: int) -> float | None:
        """When a target must have answered.

        Args:
            now: The time.
            deadline: When the call must be over, or None.
            left: How many targets are left, this one included.
        """
        if deadline is None or left == 1:
            return deadline
        return now + max(0.0, deadline - now) * (self.share or 1 / left)


def real_error(error: LLMError) -> LLMError:
    """The real error behind a target's own deadline, if there was one before it."""
    cause = error.__cause__
    return cause if isinstance(error, DeadlineExceededError) and isinstance(cause, LLMError) else error


def most_telling(errors: Sequence[LLMError]) -> LLMError:
    """The first error that a backend caused; if nothing was sent to any, the first."""
    return next((error for error in errors if not error.local), errors[0])
