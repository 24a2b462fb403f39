"""What is learned about models."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.policy import lessons as module
from resilient_llm.policy.lessons import LARGEST_RATIO, NOTHING, RECENT, SMALLEST_CUT, TELLING, Lessons


@pytest.fixture
def lessons() -> Lessons:
    return Lessons()


def test_nothing_is_known_at_first(lessons) -> None:
    """No window, and our tokens are taken for the backend's."""
    assert lessons.get("m") is NOTHING
    assert (NOTHING.window, NOTHING.ratio, NOTHING.largest) == (None, 1.0, 0)


def test_the_newest_window_counts_and_the_largest_ratio_with_it(lessons) -> None:
    """A server restarted with another context is believed; under-counting is remembered."""
    lessons.refused("m", 1000, 1.5)
    lessons.refused("m", 1000, 1.2)
    assert (lessons.get("m").window, lessons.get("m").ratio) == (1000, 1.5)
    lessons.refused("m", 2000, 1.1)
    assert (lessons.get("m").window, lessons.get("m").ratio) == (2000, 1.1)
    assert lessons.get("other") is NOTHING


def test_reports_raise_the_ratio_and_never_lower_it_below_one(lessons) -> None:
    """An estimate that was too low is corrected, one that was too high is left alone: that side is safe."""
    lessons.reported("m", 900, 1000)
    assert lessons.get("m").ratio == 1.0
    lessons.reported("m", 1300, 1000)
    lessons.reported("m", 1200, 1000)
    assert lessons.get("m").ratio == 1.3


def test_a_ratio_is_forgotten_after_many_that_were_lower(lessons) -> None:
    """One odd prompt does not make a model's window small for ever."""
    lessons.reported("m", 4000, 1000)
    for _ in range(RECENT - 1):
        lessons.reported("m", 1100, 1000)
    assert lessons.get("m").ratio == 4.0
    lessons.reported("m", 1100, 1000)
    assert lessons.get("m").ratio == 1.1


def test_short_prompts_teach_no_ratio(lessons) -> None:
    """What a template adds to every prompt is much of a short one and nothing of a long one."""
    lessons.reported("m", 10 * TELLING, TELLING - 1)
    lessons.reported("m", 10 * TELLING, None)
    assert lessons.get("m").ratio == 1.0


def test_a_ratio_has_a_bound(lessons) -> None:
    """A gateway that adds a long prompt of its own does not close the window."""
    lessons.reported("m", 10**6, TELLING)
    lessons.refused("n", 1000, 50.0)
    assert lessons.get("m").ratio == lessons.get("n").ratio == 8.0


@pytest.mark.parametrize(
    ("tokens", "window"), [(SMALLEST_CUT, 512), (600, 1024), (4096, 4096), (3000, 4096), (4097, 8192)]
)
def test_a_cut_prompt_teaches_the_next_power_of_two(lessons, tokens, window) -> None:
    """Most windows are one; a backend that drops whole messages reports somewhat less than its window."""
    assert lessons.cut("m", tokens) == window
    assert lessons.get("m").window == window


def test_a_prompt_cut_within_the_window_learned_teaches_what_was_reported(lessons) -> None:
    """A window that is no power of two is found at the second cut, and then it is enough."""
    assert [lessons.cut("m", tokens) for tokens in (4800, 5000, 5000, 4900)] == [8192, 5000, None, None]
    assert lessons.get("m").window == 5000


def test_a_cut_lowers_a_window_learned_from_a_refusal_only(lessons) -> None:
    """Nothing that is known becomes larger by it."""
    lessons.refused("m", 3000, 1.0)
    assert lessons.cut("m", 3500) is None
    assert lessons.cut("m", 2900) == 2900


def test_a_backend_that_took_more_before_has_cut_nothing(lessons) -> None:
    """It leaves out of its report what it had in a cache."""
    lessons.reported("m", 9000, None)
    assert lessons.cut("m", 600) is None
    assert lessons.get("m").window is None


def test_a_report_of_no_more_tokens_than_before_teaches_nothing(lessons) -> None:
    """Without an estimate only the largest prompt counts."""
    lessons.reported("m", 9000, None)
    known = lessons.get("m")
    for tokens in (9000, 10):
        lessons.reported("m", tokens, None)
    assert lessons.get("m") is known


def test_a_window_that_was_just_filled_can_be_the_one_learned(lessons) -> None:
    """A prompt that had its very size was not cut."""
    lessons.reported("m", 1024, None)
    assert lessons.cut("m", 600) == 1024


def test_a_lesson_in_use_is_kept(monkeypatch: pytest.MonkeyPatch, lessons) -> None:
    """The one that goes is the one that was learned longest ago; what is learned is told."""
    monkeypatch.setattr(module, "MAX_MODELS", 2)
    for model in "abac":
        assert lessons.refused(model, 1000, 1.5) is lessons.get(model)
    assert [lessons.get(model) is NOTHING for model in "abc"] == [False, True, False]


def test_a_few_tokens_are_no_window(lessons) -> None:
    """Such a report counts something else."""
    assert lessons.cut("m", SMALLEST_CUT - 1) is None


def test_the_number_of_lessons_is_bounded(monkeypatch: pytest.MonkeyPatch, lessons) -> None:
    """The least recently learned one is forgotten."""
    monkeypatch.setattr(module, "MAX_MODELS", 2)
    for model in "abc":
        lessons.refused(model, 1, 1.0)
    assert [lessons.get(model) is NOTHING for model in "abc"] == [True, False, False]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["refused", "reported", "cut"]), st.integers(1, 10**6), st.integers(1, 10**6)
        ),
        max_size=60,
    )
)
def test_whatever_is_learned_stays_within_bounds(steps) -> None:
    """Ratios from 1 to 8, few remembered, windows above 0, the largest prompt never smaller than reported."""
    lessons = Lessons()
    for kind, one, other in steps:
        before = lessons.get("m")
        if kind == "refused":
            lessons.refused("m", one, max(1.0, other / one))
        elif kind == "reported":
            lessons.reported("m", one, other)
            assert lessons.get("m").largest == max(before.largest, one)
        elif (window := lessons.cut("m", one)) is not None:
            assert SMALLEST_CUT <= one <= window < 2 * one
            assert before.window is None or window < before.window
        known = lessons.get("m")
        assert 1.0 <= known.ratio <= LARGEST_RATIO
        assert known.ratio == max(1.0, *known.recent, 1.0)
        assert len(known.recent) <= RECENT
        assert known.window is None or known.window > 0


def test_threads_lose_nothing(lessons) -> None:
    """Reports that come in at the same time are all counted."""

    def report(base: int) -> None:
        for number in range(500):
            lessons.reported(f"m{number % 3}", base + number, 1000)

    threads = [threading.Thread(target=report, args=(base,)) for base in (1000, 2000, 3000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(lessons.get(f"m{number}").largest for number in range(3)) == 3499
