"""What a refused prompt teaches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.policy import overflow
from resilient_llm.policy.overflow import Lesson, Lessons, answer_share, in_our_tokens, lesson_of


def lesson(**facts) -> Lesson | None:
    known = {"limit": 1000, "requested": None, "estimate": 500, "asked": None, "window": None}
    return lesson_of(**(known | facts))


def test_the_error_names_window_and_size() -> None:
    """The ratio is the backend's count over ours, and never below 1."""
    assert lesson(requested=1500) == Lesson(1000, 3.0)
    assert lesson(requested=400) == Lesson(1000, 1.0)


def test_the_error_names_only_the_window() -> None:
    """If our estimate was over it, the estimate is believed; if it fitted, half of the room is used."""
    assert lesson(estimate=2000) == Lesson(1000)
    assert in_our_tokens(1000, lesson(estimate=500).ratio) == 250
    assert in_our_tokens(800, lesson(estimate=500, asked=200).ratio) == 250


def test_the_error_names_nothing() -> None:
    """The window known before serves; without one nothing is learned."""
    assert lesson(limit=None, window=1000, estimate=2000) == Lesson(1000)
    assert lesson(limit=None) is None


def test_a_prompt_of_nothing_teaches_nothing() -> None:
    """There is no size to compare with."""
    assert lesson(estimate=0) is None


@pytest.mark.parametrize(
    ("asked", "window", "share"),
    [(None, 1000, 0), (200, 1000, 200), (999, 1000, 999), (1000, 1000, 250), (4096, 512, 128)],
)
def test_an_answer_that_the_window_could_not_hold_gets_a_quarter(asked, window, share) -> None:
    """A default meant for larger models does not make every call to a small one impossible."""
    assert answer_share(asked, window) == share


def test_the_newest_window_counts_and_the_largest_ratio_with_it() -> None:
    """A server restarted with another context is believed; under-counting is remembered."""
    lessons = Lessons()
    for learned in (Lesson(1000, 1.5), Lesson(1000, 1.2)):
        lessons.learn("m", learned)
    assert lessons.get("m") == Lesson(1000, 1.5)
    lessons.learn("m", Lesson(2000, 1.1))
    assert lessons.get("m") == Lesson(2000, 1.1)
    assert lessons.get("other") is None


def test_the_number_of_lessons_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently learned one is forgotten."""
    monkeypatch.setattr(overflow, "MAX_MODELS", 2)
    lessons = Lessons()
    for model in "abc":
        lessons.learn(model, Lesson(1))
    assert [lessons.get(model) is None for model in "abc"] == [True, False, False]


@given(budget=st.integers(0, 10**7), ratio=st.floats(1.0, 20.0))
def test_a_converted_budget_is_never_too_large(budget: int, ratio: float) -> None:
    """Our tokens times the ratio stay within the backend's budget."""
    assert in_our_tokens(budget, ratio) * ratio <= budget + 1e-6 * budget
