"""What a refused prompt tells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.policy.overflow import answer_share, in_our_tokens, told_by


def told(**facts) -> tuple[int, float] | None:
    known = {"limit": 1000, "requested": None, "estimate": 500, "asked": None, "window": None}
    return told_by(**(known | facts))


def test_the_error_names_window_and_size() -> None:
    """The ratio is the backend's count over ours, and never below 1."""
    assert told(requested=1500) == (1000, 3.0)
    assert told(requested=400) == (1000, 1.0)


def test_the_error_names_only_the_window() -> None:
    """If our estimate was over it, the estimate is believed; if it fitted, half of the room is used."""
    assert told(estimate=2000) == (1000, 1.0)
    assert in_our_tokens(1000, told(estimate=500)[1]) == 250
    assert in_our_tokens(800, told(estimate=500, asked=200)[1]) == 250


def test_the_error_names_nothing() -> None:
    """The window known before serves; without one nothing is learned."""
    assert told(limit=None, window=1000, estimate=2000) == (1000, 1.0)
    assert told(limit=None) is None


def test_a_prompt_of_nothing_tells_nothing() -> None:
    """There is no size to compare with."""
    assert told(estimate=0) is None


@pytest.mark.parametrize(
    ("asked", "window", "share"),
    [(None, 1000, 0), (200, 1000, 200), (999, 1000, 999), (1000, 1000, 250), (4096, 512, 128)],
)
def test_an_answer_that_the_window_could_not_hold_gets_a_quarter(asked, window, share) -> None:
    """A default meant for larger models does not make every call to a small one impossible."""
    assert answer_share(asked, window) == share


@given(budget=st.integers(0, 10**7), ratio=st.floats(1.0, 20.0))
def test_a_converted_budget_is_never_too_large(budget: int, ratio: float) -> None:
    """Our tokens times the ratio stay within the backend's budget."""
    assert in_our_tokens(budget, ratio) * ratio <= budget + 1e-6 * budget


def test_an_estimate_that_just_fitted_was_wrong() -> None:
    """As one that fitted with room: half of the room is used, whatever its size; one token more was too large."""
    assert told(estimate=1000) == (1000, 2.0)
    assert told(estimate=1) == (1000, 2000.0)
    assert told(estimate=800, asked=200) == (1000, 2.0)
    assert told(estimate=801, asked=200) == (1000, 1.0)
