"""A spent quota: time does not help, so the backend is not asked again for a while."""

from __future__ import annotations

import attrs

from resilient_llm.errors import LLMError, ModelQuotaExceededError


@attrs.define
class Quota:
    """What is known of a key's quota.

    Attributes:
        until: When it may be asked again, in monotonic seconds; 0: it was never spent.
    """

    until: float = attrs.field(default=0.0, init=False)
    _told: tuple[str, str | None] = attrs.field(default=("", None), init=False)

    def spent(self, error: LLMError, until: float) -> None:
        """The backend says so; not to be asked again until then."""
        self._told = (error.message, error.backend)
        self.until = until

    def check(self, model: str, now: float) -> None:
        """Reject a call as long as the backend is not to be asked.

        Raises:
            ModelQuotaExceededError: With what is left as `retry_after`; `local`, for nothing was sent.
        """
        left = self.until - now
        if left > 0:
            said, backend = self._told
            msg = f"not asked again so soon after: {said}"
            error = ModelQuotaExceededError(msg, retry_after=left, backend=backend, model=model or None)
            error.local = True
            raise error
