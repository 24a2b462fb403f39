"""The error tree: one class per code, picklable, with a text that says what to do."""

from __future__ import annotations

import copy
import pickle

import aiobreaker
import pytest

from resilient_llm.error_base import copy_error
from resilient_llm.errors import (
    ERROR_TYPES,
    BackendFailure,
    CircuitOpenError,
    ErrorCode,
    ModelLoadingError,
    ModelOverloadedError,
    ModelRateLimitedError,
    count_attempts,
)
from resilient_llm.models import Attempt, Completion


def test_every_code_has_its_class() -> None:
    """The table covers all codes, and each class knows its own."""
    assert set(ERROR_TYPES) == set(ErrorCode)
    assert all(kind.code is code for code, kind in ERROR_TYPES.items())


@pytest.mark.parametrize("kind", ERROR_TYPES.values(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_errors_can_be_pickled_and_copied(kind, again) -> None:
    """Nothing that an error carries is lost on the way to another process."""
    error = kind(
        "what happened", retry_after=1.5, status=400, backend="b", model="m", partial=Completion("half")
    )
    error.trace = (Attempt(1, "b", 0.5, error=ModelOverloadedError("busy")),)
    error.attempts = 1
    twin = again(error)
    assert type(twin) is kind
    assert str(twin) == str(error)
    assert (twin.retry_after, twin.status, twin.partial, twin.attempts) == (1.5, 400, Completion("half"), 1)
    assert str(twin.trace[0].error) == str(error.trace[0].error)


def test_a_copy_to_raise_again_has_notes_and_a_traceback_of_its_own() -> None:
    """What stages write on the copy is not on the original; its cause and what it happened in are the same."""
    cause = OSError("reset")
    error = ModelOverloadedError("busy", retry_after=2.0)
    with pytest.raises(ModelOverloadedError):
        raise error from cause
    error.add_note("first")
    twin = copy_error(error)
    twin.add_note("second")
    twin.attempts = 3
    assert (error.__notes__, error.attempts) == (["first"], 0)
    assert twin.__notes__ == ["first", "second"]
    assert (twin.__cause__, twin.__suppress_context__, twin.retry_after) == (cause, True, 2.0)
    depth = error.__traceback__
    with pytest.raises(ModelOverloadedError):
        raise twin
    assert error.__traceback__ is depth
    assert twin.__traceback__ is not depth
    assert copy_error(ModelOverloadedError("busy")).__traceback__ is None


def test_the_text_tells_what_where_and_what_next() -> None:
    """`str()` has the code, the backend, the model, the status, the delay, the attempts, the notes and a hint."""
    error = ModelRateLimitedError(
        "too many requests", retry_after=2, status=429, backend="openai", model="gpt-4o"
    )
    error.attempts = 4
    error.add_note("not retried: the retry budget is spent")
    assert str(error) == (
        "MODEL_RATE_LIMITED (openai, gpt-4o, HTTP 429): too many requests; retry after 2 s; 4 attempts; "
        "not retried: the retry budget is spent. Send fewer or smaller requests, or add a RateLimit stage"
    )
    assert error.message == "too many requests"


@pytest.mark.parametrize(("delay", "told"), [(59.83421, "59.8 s"), (3600.0, "3600 s"), (0.04321, "0.043 s")])
def test_a_delay_is_told_as_exactly_as_it_matters(delay: float, told: str) -> None:
    """The text rounds what `retry_after` has in full."""
    error = ModelRateLimitedError("slow down", retry_after=delay)
    assert f"slow down; retry after {told}. " in str(error)
    assert error.retry_after == delay


def test_a_single_error_overrides_its_class() -> None:
    """`retryable` and `backend_fault` of one error do not touch the class."""
    error = ModelOverloadedError("busy", retryable=False, backend_fault=False)
    assert (error.retryable, error.backend_fault) == (False, False)
    assert (ModelOverloadedError.retryable, ModelOverloadedError.backend_fault) == (True, True)


def test_a_loading_model_is_an_overloaded_one_by_class() -> None:
    """Code that catches overload catches loading, too; the codes differ."""
    error = ModelLoadingError("loading")
    assert isinstance(error, ModelOverloadedError)
    assert (error.code, error.backend_fault) == ("MODEL_LOADING", False)


def test_an_open_circuit_is_caught_as_aiobreakers_error() -> None:
    """Code written for aiobreaker catches it and can ask when to come back."""
    error = CircuitOpenError("open", retry_after=30)
    assert isinstance(error, aiobreaker.CircuitBreakerError)
    assert error.time_remaining.total_seconds() == 30
    assert error.reopen_time.tzinfo is None


def test_local_rejections_are_no_attempts() -> None:
    """Only what was sent counts."""
    trace = [Attempt(1, "b", 1.0), Attempt(2, "b", 0.0, error=CircuitOpenError("open"))]
    assert count_attempts(trace) == 1


def test_a_raw_failure_does_not_show_its_body() -> None:
    """The body may quote the prompt, so its text stays out of the message."""
    failure = BackendFailure(500, {}, "secret prompt", surface="stream")
    assert str(failure) == "the backend answered HTTP 500 and failed in the stream"
