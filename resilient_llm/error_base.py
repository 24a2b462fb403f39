"""The root of the error tree, the codes, and the raw facts before they are classified."""

from __future__ import annotations

import copy
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .models import Attempt, Completion

AnyError = TypeVar("AnyError", bound=Exception)


class ErrorCode(StrEnum):
    """The cause of a failed call, as a string that logs and dashboards can rely on."""

    MODEL_RATE_LIMITED = "MODEL_RATE_LIMITED"
    MODEL_QUOTA_EXCEEDED = "MODEL_QUOTA_EXCEEDED"
    MODEL_CONTEXT_LENGTH = "MODEL_CONTEXT_LENGTH"
    MODEL_OVERLOADED = "MODEL_OVERLOADED"
    MODEL_LOADING = "MODEL_LOADING"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    MODEL_TIMEOUT = "MODEL_TIMEOUT"
    MODEL_RESPONSE_INVALID = "MODEL_RESPONSE_INVALID"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    MODEL_AUTH = "MODEL_AUTH"
    MODEL_INVALID_REQUEST = "MODEL_INVALID_REQUEST"
    MODEL_PAYLOAD_TOO_LARGE = "MODEL_PAYLOAD_TOO_LARGE"
    MODEL_CONTENT_FILTERED = "MODEL_CONTENT_FILTERED"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    TOKEN_BUDGET_EXCEEDED = "TOKEN_BUDGET_EXCEEDED"  # noqa: S105 - a code, not a secret


@attrs.frozen
class BackendAnswer:
    """What a backend answered instead of a result: for those who know its dialect. Its repr shows the status alone.

    Args:
        status: The HTTP status; 200 if the failure came inside an answer.
        headers: The answer's headers, names in lower case.
        body: The body as far as it was read: at most 64 KiB, of a wrapped client's backend 1 MiB; of a failure inside
            a stream what told of it. Our own key in it is hidden. It may quote the prompt, so it is not for logs.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


class LLMError(Exception):
    """The root of everything that a call raises on purpose.

    Args:
        message: What happened, in a sentence without a full stop; never a key, never a prompt.
        retryable: Would the same request, sent again unchanged after a wait, have a chance? Default: the class's.
        retry_after: Seconds that the backend (or an open circuit) asks to wait, if it said so.
        backend_fault: Does this count against the backend's health? Default: the class's.
        status: The HTTP status, if there was an answer.
        backend: The transport's name, such as `"openai"`.
        model: The model asked for.
        request_id: The backend's own id of the request, for its support.
        context_limit: The model's window in tokens, if the backend named it.
        context_requested: The size of the request in tokens, if the backend named it.
        partial: What had arrived before the failure, or None.

    Attributes:
        code: The class's `ErrorCode`; one class for each code. The root and a class of one's own have one, too.
        hint: What to do next, which `str()` shows.

    Stages may add notes (`add_note`), which `str()` shows. The pipeline adds `attempts` (how many times the backend was
    called) and `trace` (one `Attempt` for each), `ErrorClassifier` the `answer` (what the backend answered, if it did).
    Errors can be pickled and copied; `__cause__` is lost by pickling, as for every exception.
    """

    code: ClassVar[ErrorCode] = ErrorCode.MODEL_UNAVAILABLE
    hint: ClassVar[str] = ""
    local: bool = False
    """Was the call rejected on this side, with nothing sent? A stage may say so of a single error."""
    answer: BackendAnswer | None = None
    retryable: bool = False
    backend_fault: bool = False

    def __init__(
        self,
        message: str,
        *,
        retryable: bool | None = None,
        retry_after: float | None = None,
        backend_fault: bool | None = None,
        status: int | None = None,
        backend: str | None = None,
        model: str | None = None,
        request_id: str | None = None,
        context_limit: int | None = None,
        context_requested: int | None = None,
        partial: Completion | None = None,
    ) -> None:
        Exception.__init__(
            self, message
        )  # aiobreaker's error, a base of CircuitOpenError, wants other arguments
        if retryable is not None:
            self.retryable = retryable
        if backend_fault is not None:
            self.backend_fault = backend_fault
        self.message = message
        self.retry_after = retry_after
        self.status = status
        self.backend = backend
        self.model = model
        self.request_id = request_id
        self.context_limit = context_limit
        self.context_requested = context_requested
        self.partial = partial
        self.attempts = 0
        self.trace: tuple[Attempt, ...] = ()

    def __str__(self) -> str:
        """The code, where it happened, what happened, and what to do next."""
        where = ", ".join(
            part
            for part in (self.backend, self.model, f"HTTP {self.status}" if self.status else None)
            if part
        )
        text = f"{self.code}{f' ({where})' if where else ''}: {self.message}"
        if self.retry_after is not None:
            text += f"; retry after {_rounded(self.retry_after):g} s"
        if self.attempts > 1:
            text += f"; {self.attempts} attempts"
        text += "".join(f"; {note}" for note in getattr(self, "__notes__", ()))
        return f"{text}. {self.hint}" if self.hint else text


def _rounded(seconds: float) -> float:
    """As exact as a person wants to know it."""
    return round(seconds, 1 if seconds >= 1 else 3)


def count_attempts(trace: Iterable[Attempt]) -> int:
    """How many of a trace's records were sent; the others were rejected on this side."""
    sent = 0
    for attempt in trace:
        if attempt.error is None or not attempt.error.local:
            sent += 1
    return sent


class BackendFailure(Exception):  # noqa: N818 - not an error yet: the raw facts that ErrorClassifier judges
    """What a backend answered instead of a result, before it is classified.

    Transports raise it; `ErrorClassifier` turns it into an `LLMError`. Whoever composes a stack without that
    stage meets it as it is.

    Args:
        status: The HTTP status.
        headers: The answer's headers, names in lower case.
        body: The body, or of a stream the text as far as it matters; bounded by whoever read it.
        surface: `"http"` for an ordinary answer, `"stream"` for a failure inside a stream whose status was 200.
    """

    def __init__(
        self, status: int, headers: Mapping[str, str], body: str | bytes, *, surface: str = "http"
    ) -> None:
        super().__init__(status, headers, body)
        self.status = status
        self.headers = headers
        self.body = body
        self.surface = surface

    @property
    def answer(self) -> BackendAnswer:
        """The same as a value, for the error that it becomes."""
        body = self.body
        return BackendAnswer(
            self.status,
            dict(self.headers),
            body if isinstance(body, bytes) else body.encode("utf-8", "replace"),
        )

    def __repr__(self) -> str:
        """The status alone, as `str` says it."""
        return f"BackendFailure({self.status})"

    def __str__(self) -> str:
        """The status alone: the body may quote the prompt."""
        return f"the backend answered HTTP {self.status}" + (
            " and failed in the stream" if self.surface == "stream" else ""
        )


def copy_error(error: AnyError) -> AnyError:
    """A copy to raise beside the original, or again: its notes and its traceback are its own, its cause is the same.

    An exception of another library that cannot be copied is given back as it is.
    """
    try:
        twin = copy.copy(error)
    except Exception:  # noqa: BLE001 - whatever its constructor wants
        return error
    if notes := getattr(error, "__notes__", None):
        twin.__notes__ = list(notes)
    twin.__cause__, twin.__context__ = error.__cause__, error.__context__
    twin.__suppress_context__ = error.__suppress_context__
    return twin.with_traceback(error.__traceback__)
