"""Putting mistakes into functions that are there already."""

from __future__ import annotations

import gc

from mutation_swap import _functions


def test_functions_are_found_where_the_heap_is_frozen():
    """Tests freeze it once they are collected, and what is frozen is no object of the collector's."""
    gc.freeze()
    names = {name for _, name, _ in _functions({__file__})}
    assert "test_functions_are_found_where_the_heap_is_frozen" in names
