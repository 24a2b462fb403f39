"""The one table that drives retry, breaker and fallback, made from the error classes.

A single error overrides its row: `error.retryable` and `error.backend_fault` are asked before the table.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from resilient_llm.errors import ERROR_TYPES, ErrorCode, LLMError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Verdict(StrEnum):
    """What an outcome says about the backend's health."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


class Fall(StrEnum):
    """Should a fallback try its next target?

    `OPTIONAL` means: if the caller wants it, for waiting would help too. `LARGER` means: only to a target with a
    larger window. `POLICY` means: not unless the caller says so, for a wrong key should be seen.
    """

    YES = "yes"
    NO = "no"
    OPTIONAL = "optional"
    LARGER = "larger"
    POLICY = "policy"


@attrs.frozen
class Row:
    """What the stages do after one kind of failure.

    Args:
        retry: Send the same request again, if nothing was delivered.
        breaker: What the circuit breaker counts.
        fallback: Whether the next target is tried.
    """

    retry: bool
    breaker: Verdict
    fallback: Fall


_FALLBACK: Final[Mapping[ErrorCode, Fall]] = {
    ErrorCode.MODEL_RATE_LIMITED: Fall.OPTIONAL,
    ErrorCode.MODEL_CONTEXT_LENGTH: Fall.LARGER,
    ErrorCode.MODEL_AUTH: Fall.POLICY,
    ErrorCode.MODEL_INVALID_REQUEST: Fall.NO,
    ErrorCode.MODEL_PAYLOAD_TOO_LARGE: Fall.NO,
    ErrorCode.MODEL_CONTENT_FILTERED: Fall.NO,
    ErrorCode.DEADLINE_EXCEEDED: Fall.NO,
    ErrorCode.TOKEN_BUDGET_EXCEEDED: Fall.LARGER,  # what TokenBudget makes of a refusal, or of a known window
}


def _row(kind: type[LLMError]) -> Row:
    breaker = Verdict.FAILURE if kind.backend_fault else Verdict.NEUTRAL
    return Row(kind.retryable, breaker, _FALLBACK.get(kind.code, Fall.YES))


OUTCOMES: Final[Mapping[ErrorCode, Row]] = MappingProxyType(
    {code: _row(kind) for code, kind in ERROR_TYPES.items()}
)
"""What happens after each kind of failure, unless the single error says otherwise."""


def whole_table(_instance: object, attribute: attrs.Attribute[Any], value: Mapping[ErrorCode, Row]) -> None:
    """A validator: a table has a row for each code, or an error of the backend would become one of the program."""
    missing = OUTCOMES.keys() - value.keys()
    if missing:
        msg = (
            f"{attribute.name} must have a row for each code, and has none for {min(missing)}: "
            "change single cells by resilient_llm.policy.outcomes.override"
        )
        raise ValueError(msg)


def override(
    table: Mapping[ErrorCode, Row], cells: Mapping[ErrorCode, Mapping[str, object]]
) -> Mapping[ErrorCode, Row]:
    """Change single cells of a table, as a new table.

    Args:
        table: The table to start from, mostly `OUTCOMES`.
        cells: New values by code and column: `{ErrorCode.MODEL_AUTH: {"fallback": "yes"}}`.

    Raises:
        TypeError: There is no such column.
        ValueError: The column does not take that value.
    """
    return MappingProxyType({**table, **{code: _changed(table[code], new) for code, new in cells.items()}})


def _changed(row: Row, cells: Mapping[str, object]) -> Row:
    columns = {field.name for field in attrs.fields(Row)}
    if unknown := cells.keys() - columns:
        msg = f"no such column: {sorted(unknown)!r}; there are {sorted(columns)!r}"
        raise TypeError(msg)
    return Row(
        bool(cells.get("retry", row.retry)),
        Verdict(str(cells.get("breaker", row.breaker))),
        Fall(str(cells.get("fallback", row.fallback))),
    )


def breaker_verdict(error: BaseException | None, table: Mapping[ErrorCode, Row] = OUTCOMES) -> Verdict:
    """Say what the breaker counts: None is a success, the backend's fault a failure, all else neutral.

    An error whose own `backend_fault` differs from that of its code's class is believed before the table. Cancellation,
    and whatever is not an `LLMError`, says nothing about the backend.
    """
    if error is None:
        return Verdict.SUCCESS
    if not isinstance(error, LLMError):
        return Verdict.NEUTRAL
    if error.backend_fault != ERROR_TYPES[error.code].backend_fault:
        return Verdict.FAILURE if error.backend_fault else Verdict.NEUTRAL
    return table[error.code].breaker


def should_retry(error: BaseException | None, table: Mapping[ErrorCode, Row] = OUTCOMES) -> bool:
    """Say whether the same request, unchanged, is worth sending again; only ever for an `LLMError`.

    An error whose own `retryable` differs from that of its code's class is believed before the table: one that was
    told so, and one of a class of somebody's own.
    """
    if not isinstance(error, LLMError):
        return False
    if error.retryable != ERROR_TYPES[error.code].retryable:
        return error.retryable
    return table[error.code].retry


def fallback_for(error: BaseException | None, table: Mapping[ErrorCode, Row] = OUTCOMES) -> Fall:
    """Say whether a fallback should try its next target; never for what is not an `LLMError`."""
    return table[error.code].fallback if isinstance(error, LLMError) else Fall.NO
