"""ErrorClassifier: the innermost stage; everyone above sees only `LLMError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from resilient_llm.clock import SYSTEM_CLOCK, Clock
from resilient_llm.error_base import copy_error
from resilient_llm.errors import BackendFailure

if TYPE_CHECKING:
    from resilient_llm.errors import LLMError
    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response


@attrs.frozen(kw_only=True)
class ErrorClassifier:
    """Turn what the transport raises into typed errors, whole and in mid-stream.

    Args:
        backend: The transport's name, for the errors and for wordings that only one backend uses.
        clock: Wall time, for dates in `Retry-After`.
    """

    role = "classifier"

    backend: str | None = None
    clock: Clock = attrs.field(default=SYSTEM_CLOCK, repr=False)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Classify what fails before the commit now, what fails after it then."""
        try:
            response = await call_next(request)
        except Exception as exc:
            error = self._classify(request, exc)
            if error is exc:
                raise
            raise error from exc
        if response.outcome is None:
            response.on_error(lambda exc: self._classify(request, exc))
        return response

    def _classify(self, request: Request, exc: Exception) -> LLMError:
        from resilient_llm.policy.classify_exception import (  # noqa: PLC0415 - 10 ms that healthy calls never need
            classify_exception,
        )

        error = classify_exception(exc, self.backend, now=self.clock.time())
        if error.backend is None:
            error.backend = self.backend
        if error.model is None:
            error.model = request.model or None
        if error is not exc:
            if (
                error.__traceback__ is not None
            ):  # it was raised before, and what came of it cannot be its cause
                error = copy_error(error)
            error.__cause__ = exc
        if isinstance(exc, BackendFailure):
            error.answer = exc.answer
        return error
