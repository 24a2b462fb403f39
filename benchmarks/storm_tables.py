"""What the storms have shown: medians of several draws of chance with their ranges, and where ours is not the best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import results
from storm_clients import OURS

MARGIN = 0.05
WHY = (
    "By more than five points, in the median. What took the calls can be read from the table of the storm: ours "
    "without the stage that costs them answers more. A circuit rejects for half a minute, and twice as long after each "
    "failed probe, what a backend that serves some calls would have answered."
)
FIGURES = {
    "success": ("answered", 100, 1, "%"),
    "answers": ("goodput", 1, 2, "/s"),
    "p50": ("p50", 1, 1, " s"),
    "p99": ("p99", 1, 1, " s"),
    "recovery": ("well again after", 1, 0, " s"),
    "amplification": ("requests per call", 1, 2, ""),
    "wasted": ("tokens wasted", 100, 1, "%"),
}
"""The figures of a run: what to call them, what to multiply them by, how many digits, and the unit."""

Run = Mapping[str, Any]
Found = Mapping[str, Mapping[str, Mapping[str, Run]]]
"""What came of each client: by storm and rate."""


def summed(runs: Sequence[Run]) -> dict[str, Any]:
    """Several draws of one client in one storm: medians, sums, means of the courses; the circuit's are the first's."""
    figures = {name: [run[name] for run in runs] for name in FIGURES}
    failures = sum((Counter(run["failures"]) for run in runs), Counter())
    return {
        **{name: middle(values) for name, values in figures.items()},
        **{name: _mean([run[name] for run in runs]) for name in ("goodput", "sent")},
        "calls": sum(run["calls"] for run in runs),
        "times": sorted(seconds for run in runs for seconds in run["times"]),
        "failures": dict(sorted(failures.items())),
        "states": runs[0]["states"],
        "draws": figures,
    }


def middle(values: Sequence[float | None]) -> float | None:
    """The median, of two the lower; None is more than any number."""
    return _sorted(values)[(len(values) - 1) // 2]


def _sorted(values: Sequence[float | None]) -> list[float | None]:
    return sorted(values, key=lambda value: math.inf if value is None else value)


def _mean(courses: Sequence[Sequence[float]]) -> list[float]:
    return [round(sum(values) / len(values), 3) for values in zip(*courses, strict=True)]


def cell(values: Sequence[float | None], scale: float, digits: int, unit: str) -> str:
    """The median and, if they differ, the least and the most."""

    def told(value: float | None, unit: str = "") -> str:
        return "not in time" if value is None else f"{scale * value:.{digits}f}{unit}"

    least, *_, most = map(told, _sorted([*values, *values]))
    told_middle = told(middle(values), unit)
    return told_middle if least == most else f"{told_middle} ({least} to {most})"


def tables(found: Found, texts: Mapping[str, str], peers: Sequence[str]) -> list[results.Table]:
    """A table for each storm: clients and rates; then where one of these peers answers more than ours."""
    written = []
    for name, rates in found.items():
        rows = [
            [
                f"{policy}, {rate}",
                *(cell(run["draws"][key], *how) for key, (_, *how) in FIGURES.items()),
            ]
            for rate, runs in rates.items()
            for policy, run in runs.items()
        ]
        note = f"{texts[name]} The number behind a client is the load, as a share of the capacity."
        head = ["client", *(title for title, *_ in FIGURES.values())]
        written.append(results.Table(title=name, head=head, rows=rows, note=note))
    rows = [line.split(": ", 1) for line in beaten(found, peers)]
    if rows:
        head, title = ["storm", "shares of the calls"], "Where another client answers more"
        written.append(results.Table(title=title, head=head, rows=rows, note=WHY))
    return written


def beaten(found: Found, peers: Sequence[str]) -> list[str]:
    """Where one of these clients is better than ours."""
    return [
        f"{name} at {rate}: {policy} answers {run['success']:.1%}, {OURS} {runs[OURS]['success']:.1%}"
        for name, rates in found.items()
        for rate, runs in rates.items()
        if OURS in runs
        for policy, run in runs.items()
        if policy in peers and run["success"] > runs[OURS]["success"] + MARGIN
    ]
