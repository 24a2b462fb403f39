"""The table of outcomes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from resilient_llm import errors
from resilient_llm.errors import ERROR_TYPES, ErrorCode, LLMError
from resilient_llm.policy.outcomes import (
    OUTCOMES,
    Fall,
    Row,
    Verdict,
    _row,
    breaker_verdict,
    fallback_for,
    override,
    should_retry,
)

RETRIED = {
    ErrorCode.MODEL_RATE_LIMITED,
    ErrorCode.MODEL_OVERLOADED,
    ErrorCode.MODEL_LOADING,
    ErrorCode.MODEL_UNAVAILABLE,
    ErrorCode.MODEL_TIMEOUT,
    ErrorCode.MODEL_RESPONSE_INVALID,
}
FAULTS = RETRIED - {ErrorCode.MODEL_RATE_LIMITED, ErrorCode.MODEL_LOADING}


def make(code: ErrorCode, **options: Any) -> LLMError:
    return ERROR_TYPES[code]("it failed", **options)


def test_every_code_has_a_row() -> None:
    """The table is complete."""
    assert set(OUTCOMES) == set(ErrorCode)


@pytest.mark.parametrize("code", ErrorCode)
def test_a_row_is_made_of_the_error_class(code: ErrorCode) -> None:
    """Whether it is retried and whose fault it is stand there; the fallback's column has its own table."""
    assert _row(ERROR_TYPES[code]) == OUTCOMES[code]


@pytest.mark.parametrize("code", ErrorCode)
def test_transient_causes_are_retried(code: ErrorCode) -> None:
    """Only causes that pass with time are retried."""
    assert should_retry(make(code)) == OUTCOMES[code].retry == (code in RETRIED)


@pytest.mark.parametrize("code", ErrorCode)
def test_only_the_backends_faults_count_against_it(code: ErrorCode) -> None:
    """The breaker counts faults of the backend, and nothing that the caller did."""
    assert breaker_verdict(make(code)) == (Verdict.FAILURE if code in FAULTS else Verdict.NEUTRAL)


def test_no_error_is_a_success() -> None:
    """The breaker counts an answer as a success."""
    assert breaker_verdict(None) is Verdict.SUCCESS
    assert not should_retry(None)
    assert fallback_for(None) is Fall.NO


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ValueError("a bug"), KeyboardInterrupt()])
def test_what_is_no_backends_error_says_nothing(error: BaseException) -> None:
    """Cancellation and bugs are neutral, never retried, and no reason for a fallback."""
    assert breaker_verdict(error) is Verdict.NEUTRAL
    assert not should_retry(error)
    assert fallback_for(error) is Fall.NO


@pytest.mark.parametrize(
    ("code", "fall"),
    [
        (ErrorCode.MODEL_RATE_LIMITED, Fall.OPTIONAL),
        (ErrorCode.MODEL_QUOTA_EXCEEDED, Fall.YES),
        (ErrorCode.MODEL_CONTEXT_LENGTH, Fall.LARGER),
        (ErrorCode.MODEL_AUTH, Fall.POLICY),
        (ErrorCode.MODEL_INVALID_REQUEST, Fall.NO),
        (ErrorCode.CIRCUIT_OPEN, Fall.YES),
        (ErrorCode.DEADLINE_EXCEEDED, Fall.NO),
        (ErrorCode.TOKEN_BUDGET_EXCEEDED, Fall.LARGER),
    ],
)
def test_fallback_follows_the_cause(code: ErrorCode, fall: Fall) -> None:
    """Another target is tried where it may do better."""
    assert fallback_for(make(code)) is fall


def test_a_single_error_overrides_its_row() -> None:
    """What one error says of itself is believed before the table."""
    hopeless = errors.ModelRateLimitedError("larger than the allowance", retryable=False)
    mine = errors.ModelUnavailableError("a bug of ours", backend_fault=False)
    theirs = errors.ModelNotFoundError("gone for good", backend_fault=True, retryable=True)
    assert not should_retry(hopeless)
    assert breaker_verdict(mine) is Verdict.NEUTRAL
    assert breaker_verdict(theirs) is Verdict.FAILURE
    assert should_retry(theirs)


def test_a_class_of_ones_own_says_for_itself() -> None:
    """Derived from one of ours, with the same code: its attributes are believed as those of a single error are."""

    class Maintenance(errors.ModelOverloadedError):
        retryable = False
        backend_fault = False

    class Hiccup(errors.ModelNotFoundError):
        retryable = True

    assert (should_retry(Maintenance("back at noon")), should_retry(Hiccup("try again"))) == (False, True)
    assert breaker_verdict(Maintenance("back at noon")) is Verdict.NEUTRAL
    table = override(OUTCOMES, {ErrorCode.MODEL_OVERLOADED: {"retry": False}})
    assert not should_retry(errors.ModelOverloadedError("busy"), table)


def test_the_root_is_an_error_like_any_other() -> None:
    """Raised as it is, it is what any exception that nobody knows is: not repeated, nobody's fault, with a code."""
    error = errors.LLMError("boom")
    assert str(error) == "MODEL_UNAVAILABLE: boom"
    assert not should_retry(error)
    assert breaker_verdict(error) is Verdict.NEUTRAL
    assert fallback_for(error) is Fall.YES


def test_single_cells_can_be_overridden() -> None:
    """A changed table differs in the named cells only, and the original stays."""
    table = override(
        OUTCOMES, {ErrorCode.MODEL_AUTH: {"fallback": "yes"}, ErrorCode.MODEL_TIMEOUT: {"retry": False}}
    )
    assert fallback_for(make(ErrorCode.MODEL_AUTH), table) is Fall.YES
    assert not should_retry(make(ErrorCode.MODEL_TIMEOUT), table)
    assert table[ErrorCode.MODEL_TIMEOUT] == Row(retry=False, breaker=Verdict.FAILURE, fallback=Fall.YES)
    assert should_retry(make(ErrorCode.MODEL_TIMEOUT))
    neutral = override(OUTCOMES, {ErrorCode.MODEL_TIMEOUT: {"breaker": "neutral"}})
    assert breaker_verdict(make(ErrorCode.MODEL_TIMEOUT), neutral) is Verdict.NEUTRAL


def test_unknown_columns_and_values_are_rejected() -> None:
    """A misspelt cell is an error when the table is made."""
    with pytest.raises(TypeError, match="no such column: \\['retries'\\]"):
        override(OUTCOMES, {ErrorCode.MODEL_AUTH: {"retries": True}})
    with pytest.raises(ValueError, match="maybe"):
        override(OUTCOMES, {ErrorCode.MODEL_AUTH: {"fallback": "maybe"}})
