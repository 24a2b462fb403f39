"""Each text is counted once."""

from __future__ import annotations

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


def test_the_least_recently_used_is_forgotten_first():
    """When room runs out the text goes that was not asked for the longest."""
    seen, count = recording()
    memo = Memo(count, characters=330)
    for text in ("aaa", "bbb", "ccc", "aaa", "ddd", "aaa", "ccc", "bbb"):
        memo(text)
    assert seen == ["aaa", "bbb", "ccc", "ddd", "bbb"]


def test_a_text_larger_than_the_memo_is_counted_and_forgotten():
    """It neither stays nor costs room for good."""
    seen, count = recording()
    memo = Memo(count, characters=150)
    assert memo("x" * 1000) == 1000
    assert [memo("y"), memo("y")] == [1, 1]
    assert seen == ["x" * 1000, "y"]


def test_a_text_that_another_thread_counted_meanwhile_is_kept_once():
    """Two threads that count the same text at the same time take its room once."""
    memo = Memo(lambda text: memo._remember(text, len(text)) or len(text), characters=150)
    assert memo("abc") == 3
    assert memo._room == 150 - 103
