"""Where a list of texts is cut; two bytes count as a token."""

from __future__ import annotations

import pytest

from resilient_llm.policy.batches import CAUTIOUS, BatchLimits, batches


@pytest.mark.parametrize(
    ("sizes", "limits", "places"),
    [
        ([], BatchLimits(2), []),
        ([1, 1, 1], BatchLimits(3, 99), [(0, 3)]),
        ([1, 1, 1, 1, 1], BatchLimits(2), [(0, 2), (2, 4), (4, 5)]),
        ([4, 4, 2], BatchLimits(9, 4), [(0, 2), (2, 3)]),
        ([3, 3, 3], BatchLimits(9, 4), [(0, 2), (2, 3)]),
        ([4, 2, 6, 2, 6], BatchLimits(9, 4), [(0, 2), (2, 4), (4, 5)]),
        ([90, 2, 90], BatchLimits(9, 4), [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_a_batch_ends_where_the_next_text_would_be_too_much(sizes, limits, places) -> None:
    """Of texts or of tokens, rounded up for each text; what is just enough still goes in."""
    assert list(batches(["x" * size for size in sizes], limits)) == places


def test_a_backend_that_tells_no_limits_gets_32_texts_at_a_time() -> None:
    """However long they are."""
    assert list(batches(["x" * 9999] * 40, CAUTIOUS)) == [(0, 32), (32, 40)]
