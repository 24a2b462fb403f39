"""What a function raises on its own account: it passes the stages, and reaches the caller as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import attrs

from resilient_llm.errors import ModelUnavailableError
from resilient_llm.policy.classify_libraries import is_known

if TYPE_CHECKING:
    from types import TracebackType


class OwnError(ModelUnavailableError):
    """Stands for an exception of the program's own while it passes the stages: not retried, and nobody's fault.

    Args:
        exception: What was raised.
        backend: The function's name.
    """

    def __init__(self, exception: Exception, backend: str) -> None:
        super().__init__(
            f"the function raised {type(exception).__name__}",
            retryable=False,
            backend_fault=False,
            backend=backend,
        )
        self.exception = exception
        self.__cause__ = exception

    def unwrap(self) -> NoReturn:
        """Raise the exception as it was, its context included."""
        exception = self.exception
        context = exception.__context__
        try:
            raise exception
        finally:
            exception.__context__ = context
            del self, exception, context  # an error has its traceback, the traceback its frames


def judged(exception: Exception, backend: str) -> Exception:
    """What the stages are to see of an exception: itself where they can tell what it means."""
    return exception if is_known(exception) else OwnError(exception, backend)


@attrs.frozen
class Judging:
    """Has the exceptions of a `with` block leave it as the stages are to see them."""

    backend: str

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Raise what stands for the function's own exception; let everything else go on."""
        if isinstance(exc, Exception) and not is_known(exc):
            raise OwnError(exc, self.backend) from exc
