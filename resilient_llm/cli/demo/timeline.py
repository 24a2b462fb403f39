"""The timeline: phases on a time axis, and below them what each client got, the circuit, and the requests sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .tally import Lane, Tally

LABEL: Final = 11
WIDEST: Final = 110
ALL, SOME, NONE = "green", "dark_orange3", "red"
"""Legible on dark and on light backgrounds."""


@attrs.frozen
class Marks:
    """The characters that are drawn."""

    all: str
    some: str
    none: str
    pending: str
    closed: str
    separator: str


BLOCKS: Final = Marks(all="█", some="▂▄▆", none="x", pending="·", closed="─", separator="│")
ASCII: Final = Marks(all="#", some="-=+", none="x", pending=".", closed="-", separator="|")

Cell = tuple[str, str]
"""A character and its style."""


@attrs.frozen
class Axis:
    """The time axis: so many columns for so many seconds.

    Args:
        columns: How many.
        seconds: From the first column's beginning to the last one's end.
    """

    columns: int
    seconds: float

    def column(self, at: float) -> int:
        """The column of a time; what comes later belongs to the last."""
        return max(0, min(self.columns - 1, int(at / self.seconds * self.columns)))

    def edge(self, column: int) -> float:
        """When a column begins."""
        return column * self.seconds / self.columns


def timeline(tally: Tally, width: int, *, ascii_only: bool = False) -> Text:
    """The chart, no line longer than `width`."""
    marks = ASCII if ascii_only else BLOCKS
    axis = Axis(max(20, min(WIDEST, width - 1) - LABEL), tally.plan.seconds)
    rows: list[tuple[str, Iterable[Cell]]] = [
        ("", _phases(tally, axis, marks)),
        ("bare", _outcomes(tally, tally.bare, axis, marks)),
        ("stack", _outcomes(tally, tally.stack, axis, marks)),
        ("circuit", _circuit(tally, axis, marks)),
        ("sent bare", _requests(tally.bare, axis)),
        ("sent stack", _requests(tally.stack, axis)),
        ("seconds", _scale(axis)),
    ]
    lines = [Text.assemble(f"{label:<{LABEL}}", *cells) for label, cells in rows]
    return Text("\n").join([*lines, _legend(axis, marks)])


def _phases(tally: Tally, axis: Axis, marks: Marks) -> list[Cell]:
    """The phases' names, each in its place and cut to it."""
    cells: list[Cell] = []
    end = 0.0
    for part in tally.plan.stretches:
        end += part.phase.seconds
        room = round(end / axis.seconds * axis.columns) - sum(len(text) for text, _ in cells)
        cells.append((f"{marks.separator}{part.phase.name}"[:room].ljust(room), "bold"))
    return cells


def _outcomes(tally: Tally, lane: Lane, axis: Axis, marks: Marks) -> list[Cell]:
    """For each column the share of its calls that succeeded; calls are where they began."""
    made = [0] * axis.columns
    ended = [0] * axis.columns
    good = [0] * axis.columns
    for call in tally.plan.calls[: lane.started]:
        made[axis.column(call.at)] += 1
    for result in lane.results:
        column = axis.column(result.call.at)
        ended[column] += 1
        good[column] += result.error is None
    return [_outcome(*counts, marks) for counts in zip(made, ended, good, strict=True)]


def _outcome(made: int, ended: int, good: int, marks: Marks) -> Cell:
    if not made:
        return " ", ""
    if not ended:
        return marks.pending, ""
    if good == ended:
        return marks.all, ALL
    if not good:
        return marks.none, NONE
    return marks.some[good * len(marks.some) // ended], SOME


def _circuit(tally: Tally, axis: Axis, marks: Marks) -> list[Cell]:
    """The circuit's state in each column; one in which a probe went shows that."""
    now, state = tally.elapsed, "closed"
    drawn: list[Cell] = []
    moves = list(tally.circuit)
    for column in range(axis.columns):
        if axis.edge(column) > now or tally.began is None:
            drawn.append((" ", ""))
            continue
        states = {state}
        while moves and axis.column(moves[0][0]) <= column:
            state = moves.pop(0)[1]
            states.add(state)
        if "half_open" in states:
            drawn.append(("?", SOME))
        else:
            drawn.append(("O", NONE) if "open" in states else (marks.closed, ALL))
    return drawn


def _requests(lane: Lane, axis: Axis) -> list[Cell]:
    """How many requests reached the backend in each column."""
    counts = [0] * axis.columns
    for seen in lane.requests:
        counts[axis.column(seen.at)] += 1
    return [(" " if not count else str(count) if count < 10 else "+", "") for count in counts]


def _scale(axis: Axis) -> list[Cell]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if step * axis.columns / axis.seconds >= 8)
    text = ""
    for second in range(0, int(axis.seconds) + 1, step):
        column = round(second / axis.seconds * axis.columns)
        if column + len(str(second)) <= axis.columns:
            text = text.ljust(column) + str(second)
    return [(text, "")]


def _legend(axis: Axis, marks: Marks) -> Text:
    """What the characters mean."""
    return Text.assemble(
        " " * LABEL,
        (marks.all, ALL),
        " all ok  ",
        (marks.some, SOME),
        " some  ",
        (marks.none, NONE),
        f" none   circuit: {marks.closed} closed  O open  ? probe\n",
        " " * LABEL,
        f"sent: requests that reached the backend, per {axis.edge(1):.2g} s",
    )
