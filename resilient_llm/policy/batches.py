"""A long list of texts in batches that a backend takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BYTES_PER_TOKEN: Final = 2
"""Fewer than a token covers in any prose, so that a batch counted by them is not too large."""


@attrs.frozen
class BatchLimits:
    """What a backend takes in one request.

    Args:
        inputs: The most texts.
        tokens: The most tokens of all of them together; None: no limit that is known.
    """

    inputs: int
    tokens: int | None = None


CAUTIOUS: Final = BatchLimits(32)
"""For a backend that has not told its limits: what text-embeddings-inference takes, the least in the field."""


def batches(texts: Sequence[str], limits: BatchLimits) -> Iterator[tuple[int, int]]:
    """The places where each batch begins and ends, in order; a text that is too large alone is one by itself."""
    begin = size = 0
    for place, text in enumerate(texts):
        tokens = 0 if limits.tokens is None else _tokens(text)
        full = limits.tokens is not None and size + tokens > limits.tokens
        if place > begin and (full or place - begin == limits.inputs):
            yield begin, place
            begin, size = place, 0
        size += tokens
    if texts:
        yield begin, len(texts)


def _tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
