"""Do two runs agree? What differs between the results of a session, without what measures the machine.

`python benchmarks/report.py --against DIR` prints it, DIR being a copy of `results` from another run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs


@attrs.frozen
class Compared:
    """What of a session's data two runs must agree on.

    Args:
        depth: How many names lead to a row of its table.
        figures: Which figures of a row; None: all.
    """

    depth: int
    figures: frozenset[str] | None = None


COMPARED: Mapping[str, Compared] = {
    "verdict": Compared(3, frozenset({"passed", "outcome", "attempts", "findings"})),
    "faults": Compared(3, frozenset({"passed", "outcome"})),
    "storms": Compared(4),
    "fleet": Compared(3),
    "bench_tokens": Compared(2, frozenset({"kept"})),
}
"""The others measure time."""


def differing(session: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The rows in which two results of a session differ, and in what; a row that only one has differs."""
    compared = COMPARED[session]
    rows, others = (dict(_rows(result["data"], compared.depth)) for result in (one, other))
    told = []
    for path in rows | others:
        row, its = _figures(rows.get(path), compared), _figures(others.get(path), compared)
        names = [name for name in row | its if row.get(name) != its.get(name)]
        if names:
            told.append(f"{', '.join(path[1:])}: {', '.join(_change(name, row, its) for name in names)}")
    return told


def _rows(data: Any, depth: int, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if depth == 0:
        yield path, data
    elif isinstance(data, Mapping):
        for name, value in data.items():
            yield from _rows(value, depth - 1, (*path, name))


def _figures(row: Any, compared: Compared) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        return {} if row is None or compared.figures else {"value": row}
    return {
        name: value for name, value in row.items() if compared.figures is None or name in compared.figures
    }


def _change(name: str, row: Mapping[str, Any], its: Mapping[str, Any]) -> str:
    values = [_told(each.get(name)) for each in (its, row)]
    return f"{name} was {values[0]}, is {values[1]}" if all(values) else name


def _told(value: Any) -> str:
    """A figure that is short enough to be told."""
    text = str(value)
    return text if len(text) <= 30 else ""
