"""Whose fragment it is, whatever the backend leaves out."""

from __future__ import annotations

import pytest

from resilient_llm.events import ToolCallDelta
from resilient_llm.wire.openai_calls import CallNumbering
from resilient_llm.wire.openai_shapes import Call, Function


def place(*fragments: tuple[int | None, str | None, str | None, str | None]) -> list[ToolCallDelta]:
    numbering = CallNumbering()
    return [numbering.place(Call(index, id_, Function(name, text))) for index, id_, name, text in fragments]


def test_index_from_one():
    """Calls are numbered from 0 whatever their index."""
    deltas = place((1, "a", "f", ""), (1, None, None, "{}"), (2, "b", "g", "{}"))
    assert deltas == [
        ToolCallDelta(0, "a", "f", ""),
        ToolCallDelta(0, "", "", "{}"),
        ToolCallDelta(1, "b", "g", "{}"),
    ]


def test_index_missing():
    """Without an index the id tells the call, else the last open one."""
    deltas = place(
        (None, "a", "f", "{"),
        (None, None, None, "}"),
        (None, "b", "g", "["),
        (None, "a", None, " "),
        (None, None, None, "]"),
    )
    assert [delta.index for delta in deltas] == [0, 0, 1, 0, 1]


def test_index_and_id_missing():
    """Without index and id a name begins a call, and an id is made up."""
    deltas = place((None, "", "f", "{}"), (None, "", "g", "{}"))
    assert deltas == [ToolCallDelta(0, "call_0", "f", "{}"), ToolCallDelta(1, "call_1", "g", "{}")]


def test_nothing_but_arguments():
    """A first fragment without anything begins a call, whose name may come later."""
    deltas = place((None, None, None, "{"), (0, None, "f", "}"))
    assert deltas == [ToolCallDelta(0, "call_0", "", "{"), ToolCallDelta(1, "call_1", "f", "}")]
    deltas = place((0, "a", None, ""), (0, None, "f", "{}"))
    assert deltas == [ToolCallDelta(0, "a", "", ""), ToolCallDelta(0, "", "f", "{}")]


def test_same_index_for_all_calls():
    """A new id with a name at a known index is another call, and a known id finds its call again."""
    deltas = place((0, "a", "f", "{}"), (0, "b", "g", "{"), (0, None, None, "}"), (0, "a", "f", ""))
    assert [delta.index for delta in deltas] == [0, 1, 1, 0]


@pytest.mark.parametrize("name", [None, ""])
def test_changing_id_without_name(name: str | None):
    """An id that changes without a name stays with its call."""
    assert place((0, "a", "f", "{"), (0, "z", name, "}"))[1] == ToolCallDelta(0, "", "", "}")


def test_repeated_id_and_name():
    """Id and name that are repeated in each fragment are told once; the same id at another index is another call."""
    deltas = place((0, "a", "f", "{"), (0, "a", "f", "}"), (1, "a", "g", "{}"))
    assert deltas[1:] == [ToolCallDelta(0, "", "", "}"), ToolCallDelta(1, "a", "g", "{}")]


def test_no_function():
    """A fragment without a function is an empty one."""
    assert CallNumbering().place(Call(0, "a")) == ToolCallDelta(0, "a", "", "")
