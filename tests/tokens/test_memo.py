"""Each text is counted once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resilient_llm.tokens.memo import Memo


def recording():
    seen: list[str] = []

    def count(text: str) -> int:
        seen.append(text)
        return len(text)

    return seen, count


def test_a_text_is_counted_once():
    """The second call for an equal text does not count."""
    seen, count = recording()
    memo = Memo(count)
    assert [memo("abc"), memo("".join("abc")), memo("")] == [3, 3, 0]
    assert memo("") == 0
    assert seen == ["abc", ""]


def test_what_was_not_asked_for_is_forgotten_first():
    """When room runs out the text goes that was not asked for since half of the room was filled anew."""
    seen, count = recording()
    memo = Memo(count, characters=430)
    for text in ("aaa", "bbb", "ccc", "aaa", "ddd", "aaa", "ccc", "bbb"):
        memo(text)
    assert seen == ["aaa", "bbb", "ccc", "ddd", "bbb"]


@given(st.lists(st.text("ab", max_size=4), max_size=60))
def test_results_are_right_and_the_room_is_kept(texts):
    """Whatever is asked for in whatever order, answers are the function's and the texts held stay few."""
    memo = Memo(len, characters=430)
    for text in texts:
        assert memo(text) == len(text)
        assert len(memo._young) <= 2
        assert len(memo._old) <= 2


def test_a_text_larger_than_half_the_room_is_counted_and_forgotten():
    """It neither stays nor drives others out."""
    seen, count = recording()
    memo = Memo(count, characters=300)
    assert [memo("y"), memo("x" * 1000), memo("x" * 1000), memo("y")] == [1, 1000, 1000, 1]
    assert seen == ["y", "x" * 1000, "x" * 1000]


def test_a_text_that_another_thread_counted_meanwhile_is_kept_once():
    """Two threads that count the same text at the same time take its room once."""
    memo = Memo(lambda text: memo._remember(text, len(text)) or len(text))
    assert memo("abc") == 3
    assert memo._size == 103
